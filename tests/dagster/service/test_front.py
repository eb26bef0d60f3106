"""`carbonation run`: real processes, asked over GraphQL as the UI asks them."""

import functools
import json
import signal
import socket
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select

from carbonation_core.config.loading import load_config
from carbonation_core.db.engine import reading
from carbonation_core.db.models import BatchGroup
from carbonation_core.pipeline.in_force import is_superseded
from tests.dagster._helpers.running import Running, free_port, make_project, running
from tests.site import SiteMaker, make_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("front")]

REEXECUTE = """
mutation($parameters: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $parameters) { ... on LaunchRunSuccess { run { runId } } }
}
"""
RELOAD = """
mutation { reloadRepositoryLocation(repositoryLocationName: "carbonation") {
  ... on WorkspaceLocationEntry { locationOrLoadError { ... on PythonError { message causes { message } } } }
} }
"""
ASSET = """
query($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetMaterializations(limit: 5) { runId }
    assetChecksOrError { ... on AssetChecks { checks {
      name executionForLatestMaterialization { status } } } }
  } }
}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # A failed attempt does not come again by itself before it is executed again.
    make = functools.partial(make_site, tmp_path_factory.mktemp("station"))
    site = make_project(make, service={"retry_delay": '"30m"'})
    with (site.directory / "config.toml").open("a") as config:
        config.write(f'[metrics]\nlisten = "127.0.0.1:{free_port()}"\n')
    with running(site) as started:
        yield started
    site.project.engine.dispose()


def test_files_are_archived_failures_shown_and_executed_again(service: Running) -> None:
    site = service.site
    assert f"http://127.0.0.1:{service.port}" in service.said()
    site.deliver("good.dat", "bad.dat")

    service.wait_for(lambda: service.status_of("good.dat") == "SUCCESS")
    service.wait_for(lambda: service.status_of("bad.dat") == "FAILURE")
    assert "good.dat" in site.archived()
    assert "bad.dat" not in site.archived()

    (site.directory / "mended").touch()
    parent = service.runs()["bad.dat"]["runId"]
    parameters = {"parentRunId": parent, "strategy": "FROM_FAILURE"}
    again = service.ask(REEXECUTE, parameters=parameters)["launchRunReexecution"]["run"]["runId"]
    service.wait_for(lambda: service.status_of("bad.dat") == "SUCCESS")
    assert service.runs()["bad.dat"]["runId"] == again
    assert "bad.dat" in site.archived()

    shown = service.ask(ASSET, key={"path": ["incoming", "catalog"]})["assetNodeOrError"]
    assert shown["assetMaterializations"][0]["runId"] == again
    checks = shown["assetChecksOrError"]["checks"]
    assert {check["name"] for check in checks} == {"integrity", "failed_groups", "completeness"}
    assert {check["executionForLatestMaterialization"]["status"] for check in checks} == {"SUCCEEDED"}

    service.wait_for(service.is_well)
    found = service.status()
    assert found.problems == ()
    assert found.service
    ui = f"http://127.0.0.1:{service.port}"
    assert (found.service.pid, found.service.ui) == (service.process.pid, ui)


def test_prometheus_is_told_what_the_database_says(service: Running) -> None:
    site = service.site
    listen = load_config(site.directory / "config.toml").metrics.listen
    ended = select(func.count()).where(BatchGroup.outcome == "archived")

    def told(name: str, label: str) -> dict[str, float]:
        with urllib.request.urlopen(f"http://{listen}/metrics", timeout=10) as answer:
            families = {one.name: one for one in text_string_to_metric_families(answer.read().decode())}
        return {one.labels[label]: one.value for one in families[name].samples if one.value}

    before = told("carbonation_groups", "outcome").get("archived", 0)
    site.deliver("first.dat", "second.dat")
    service.wait_for(lambda: told("carbonation_groups", "outcome").get("archived") == before + 2)
    with reading(site.project.engine) as connection:
        assert connection.execute(ended).scalar_one() == before + 2
    parts = {"service", *(f"service:{name}" for name in ("daemon", "code server", "workers", "web server"))}
    service.wait_for(lambda: told("carbonation_part_up", "part").keys() == parts)


def test_a_changed_configuration_holds_after_sighup_and_a_faulty_one_does_not(service: Running) -> None:
    site, config = service.site, service.site.directory / "config.toml"
    (site.directory / "other").mkdir()
    good = (
        config.read_text() + '[[watch]]\nname = "other"\npath = "other"\nrules = "single"\narchive = "main"\n'
    )
    config.write_text(good)
    service.process.send_signal(signal.SIGHUP)
    service.wait_for(lambda: 'read again: watch "other" is new' in service.said())
    (site.directory / "other" / "new.dat").write_bytes(b"new")
    service.wait_for(lambda: "new.dat" in site.archived())

    config.write_text(good.replace("settle_seconds", "setle_seconds"))
    service.process.send_signal(signal.SIGHUP)
    service.wait_for(lambda: "read again: refused, so that all stays as it was: " in service.said())
    assert 'there is no key "setle_seconds"; did you mean "settle_seconds"?' in service.said()
    (site.directory / "other" / "newer.dat").write_bytes(b"newer")
    service.wait_for(lambda: "newer.dat" in site.archived())
    config.write_text(good)


def test_what_it_has_accepted_holds_for_its_site_from_sighup_on(service: Running) -> None:
    site, config = service.site, service.site.directory / "config.toml"
    before, ours = config.read_text(), replace(site.project, config=load_config(config))
    config.write_text(before.replace("[service]", '[service]\nretry_delay_max = "5h"'))
    changed = replace(site.project, config=load_config(config))
    assert (is_superseded(ours, "incoming"), is_superseded(changed, "incoming")) == (False, True)

    service.process.send_signal(signal.SIGHUP)
    service.wait_for(lambda: "read again: [service] retry_delay_max: 6h, now 5h" in service.said())
    assert (is_superseded(ours, "incoming"), is_superseded(changed, "incoming")) == (True, False)

    config.write_text(before)
    service.process.send_signal(signal.SIGHUP)
    service.wait_for(lambda: "read again: [service] retry_delay_max: 5h, now 6h" in service.said())
    assert not is_superseded(ours, "incoming")


@pytest.mark.long
def test_no_group_goes_to_an_earlier_destination_once_the_change_is_in_force(service: Running) -> None:
    site, config = service.site, service.site.directory / "config.toml"
    before, other = config.read_text(), site.directory / "other_archive"
    other.mkdir()
    end = threading.Event()
    number = iter(range(10_000))

    def deliver() -> None:
        while not end.wait(0.05):
            site.deliver(f"moving{next(number):04}.dat")

    thread = threading.Thread(target=deliver)
    thread.start()
    try:
        service.wait_for(lambda: any(name.startswith("moving") for name in site.archived()))
        config.write_text(before.replace('destination = "archive"', 'destination = "other_archive"'))
        service.process.send_signal(signal.SIGHUP)
        service.wait_for(lambda: 'read again: [[archive]] "main" destination: ' in service.said())
        in_force = {path.name for path in site.archive.iterdir()}
        service.wait_for(lambda: len(list(other.iterdir())) > 20)
    finally:
        end.set()
        thread.join()
    delivered = {f"moving{one:04}.dat" for one in range(next(number))}
    service.wait_for(lambda: delivered <= in_force | {path.name for path in other.iterdir()})
    assert {path.name for path in site.archive.iterdir()} == in_force
    config.write_text(before)
    service.process.send_signal(signal.SIGHUP)
    service.wait_for(lambda: service.said().count('read again: [[archive]] "main" destination: ') == 2)


def test_the_button_says_why_a_faulty_configuration_is_refused(service: Running) -> None:
    config = service.site.directory / "config.toml"
    good = config.read_text()
    config.write_text(good.replace("settle_seconds", "setle_seconds"))
    shown = json.dumps(service.ask(RELOAD))
    config.write_text(good)
    assert "refused, so that all stays as it was: " in shown
    assert "did you mean" in shown


def test_changed_messages_hold_after_sighup_and_their_secrets_are_not_told(service: Running) -> None:
    site, config = service.site, service.site.directory / "config.toml"
    before, received = config.read_text(), []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/hidden_path"
        config.write_text(
            f'{before}[notify]\nwebhook = "{address}"\ntoken = "hidden_token"\ninterval = "1s"\n'
        )
        service.process.send_signal(signal.SIGHUP)
        service.wait_for(lambda: "read again: [notify] interval: 1m, now 1s" in service.said())
        (site.directory / "mended").unlink(missing_ok=True)
        site.deliver("bad2.dat")
        service.wait_for(lambda: received)
        server.shutdown()

    assert received[0] == ("/hidden_path", "Bearer hidden_token")
    assert "read again: [notify] webhook is another one" in service.said()
    assert "hidden_" not in service.said()
    config.write_text(before)


@pytest.mark.long
def test_a_second_service_is_refused_and_a_foreign_daemon_left_to_its_work(
    service: Running, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from click.testing import CliRunner

    from carbonation_dagster.cli import main

    done = CliRunner().invoke(main, ["-c", str(service.site.directory / "config.toml"), "run"])
    assert done.exit_code == 1
    assert f"already, with pid {service.process.pid}" in done.stderr

    # To another project that is told to use its home, the daemon there is a foreign one.
    other = make_site(
        tmp_path_factory.mktemp("other"), "[single]\n", more='[plugins]\npackage = "tests.site:PLUGIN"\n'
    )
    home = service.site.directory / ".dagster"
    with running(other, "--no-ui", home=home) as guest:
        assert "has a daemon of its own, so none is started" in guest.said()
        assert "daemon" not in guest.pids()
        assert guest.stop() == 0
    service.site.deliver("a.dat")
    service.wait_for(lambda: "a.dat" in service.site.archived())


def test_a_port_in_use_is_said_at_once(make: SiteMaker) -> None:
    from click.testing import CliRunner

    from carbonation_dagster.cli import main

    site = make_project(make)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(main, ["-c", str(site.directory / "config.toml"), "run", "--port", port])

    assert done.exit_code == 1
    assert "choose another with --port" in done.stderr


def test_a_service_that_ends_by_a_fault_of_its_own_says_so(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from carbonation_dagster.cli import main

    def broken(front: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("carbonation_dagster.service.front.Front.run", broken)
    done = CliRunner().invoke(main, ["-c", str(make_project(make).directory / "config.toml"), "run"])

    assert done.exit_code == 1
    assert "the service ended by a fault of its own: RuntimeError: no such luck" in done.stderr
    assert "in broken" in done.stderr
