"""`carbonation run`: real processes, asked over GraphQL as the UI asks them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from carbonation_core.project import utc_now
from carbonation_core.status import status
from tests.site import Site, SiteMaker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
PLUGIN = """
from pathlib import Path
from carbonation_core import Plugin
from tests.site import File

def careful(file_paths):
    if "bad" in file_paths[0].name and not (Path(__file__).parent / "mended").exists():
        raise ValueError("it is bad")
    return {"category": "x"}

plugin = Plugin(File, extractors={"careful": careful})
"""


@dataclass
class Running:
    """A service in a process of its own."""

    site: Site
    process: subprocess.Popen[str]
    port: int
    log: Path

    def ask(self, query: str, **variables: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def runs(self) -> dict[str, dict[str, Any]]:
        """Status and id of the newest run of each group key."""
        query = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
        found: dict[str, dict[str, Any]] = {}
        for run in reversed(self.ask(query)["runsOrError"]["results"]):
            tags = {tag["key"]: tag["value"] for tag in run["tags"]}
            if "carbonation/group_key" in tags:
                found[tags["carbonation/group_key"]] = run
        return found

    def status_of(self, key: str) -> str | None:
        run = self.runs().get(key)
        return run["status"] if run else None

    def wait_for(self, condition: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            said = self.log.read_text(encoding="utf-8")
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.2)

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(25)

    def children(self) -> list[tuple[int, str]]:
        """Pids and command lines of all processes that name this project."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.site.directory) in command:
                found.append((int(path.parent.name), command))
        return found


@pytest.fixture
def running(make: SiteMaker) -> Iterator[Running]:
    site = make(
        '[single.metadata]\nextract = "careful"\n',
        watch={"rules": '"single"', "settle_seconds": "0.2"},
        more='[plugins]\npackage = "careful_plugin"\n',
    )
    (site.directory / "careful_plugin.py").write_text(PLUGIN, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "from carbonation_dagster.cli import main; main()"
    config = str(site.directory / "config.toml")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("DAGSTER_HOME", None)
    log = site.directory / "service.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "-c", config, "run", "--port", str(port)],
            env=environment,
            stderr=output,
            stdout=subprocess.PIPE,
            text=True,
        )
    service = Running(site, process, port, log)
    try:
        service.wait_for(lambda: "Stop it with" in log.read_text(encoding="utf-8"))
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(25)
        assert process.stdout is not None
        process.stdout.close()


REEXECUTE = """
mutation($parameters: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $parameters) { ... on LaunchRunSuccess { run { runId } } }
}
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


def test_files_are_archived_failures_shown_and_executed_again(running: Running) -> None:
    assert f"http://127.0.0.1:{running.port}" in running.log.read_text(encoding="utf-8")
    running.site.deliver("good.dat", "bad.dat")

    running.wait_for(lambda: running.status_of("good.dat") == "SUCCESS")
    running.wait_for(lambda: running.status_of("bad.dat") == "FAILURE")
    assert set(running.site.archived()) == {"good.dat"}

    (running.site.directory / "mended").touch()
    parent = running.runs()["bad.dat"]["runId"]
    parameters = {"parentRunId": parent, "strategy": "FROM_FAILURE"}
    again = running.ask(REEXECUTE, parameters=parameters)["launchRunReexecution"]["run"]["runId"]
    running.wait_for(lambda: running.status_of("bad.dat") == "SUCCESS")
    assert running.runs()["bad.dat"]["runId"] == again
    assert set(running.site.archived()) == {"good.dat", "bad.dat"}

    shown = running.ask(ASSET, key={"path": ["catalog", "incoming"]})["assetNodeOrError"]
    assert shown["assetMaterializations"][0]["runId"] == again
    checks = shown["assetChecksOrError"]["checks"]
    assert {check["name"] for check in checks} == {"integrity", "failed_groups", "completeness"}
    assert {check["executionForLatestMaterialization"]["status"] for check in checks} == {"SUCCEEDED"}

    now = replace(running.site.project, clock=utc_now)
    running.wait_for(lambda: status(now).service)
    found = status(now)
    assert found.problems == ()
    assert found.service
    assert (found.service.pid, found.service.ui) == (running.process.pid, f"http://127.0.0.1:{running.port}")

    began = time.monotonic()
    assert running.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 20
    assert running.children() == []
    assert status(now).problems == ()
    assert status(now).warnings[0].startswith("no service is running since ")


def test_when_a_part_ends_the_service_ends_with_a_sentence(running: Running) -> None:
    daemon = next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"dagster._daemon" in path.read_bytes()
        and str(running.site.directory).encode() in path.read_bytes()
    )
    os.kill(daemon, signal.SIGKILL)

    assert running.process.wait(25) == 1
    assert "Error: the daemon ended by SIGKILL" in running.log.read_text(encoding="utf-8")
    (problem,) = status(replace(running.site.project, clock=utc_now)).problems
    assert problem.endswith(": the daemon ended by SIGKILL; everything else is stopped")
    assert running.children() == []


def test_when_it_is_killed_its_parts_end_too(running: Running) -> None:
    now = replace(running.site.project, clock=utc_now)
    running.wait_for(lambda: status(now).service)
    running.process.kill()
    running.process.wait()
    assert status(now).problems[0].startswith(f"the service (pid {running.process.pid} on ")
    assert "has ended without a word; start it" in status(now).problems[0]

    deadline = time.monotonic() + 40
    while running.children():
        assert time.monotonic() < deadline, running.children()
        time.sleep(0.2)


def test_a_port_in_use_is_said_at_once(make: SiteMaker) -> None:
    from click.testing import CliRunner

    from carbonation_dagster.cli import main

    site = make("[single]\n", more='[plugins]\npackage = "tests.site:PLUGIN"\n')
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(main, ["-c", str(site.directory / "config.toml"), "run", "--port", port])

    assert done.exit_code == 1
    assert "choose another with --port" in done.stderr
