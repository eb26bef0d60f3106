"""Messages reach a program or a web address in a bounded time, or it is said why not."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from carbonation_core.config.sections import NotifySection
from carbonation_core.reports import notify
from carbonation_core.reports.notify import Failure, NotifyError, message, note, post, run_command, unreached
from carbonation_core.reports.status import status
from tests import databases
from tests.site import Site, SiteMaker

pytestmark = databases.one  # messages

FAILURE = Failure("run_failure", "r1", "run r1 of watch_incoming failed", "run7: no instrument", "now")


class Hook:
    """A web server on loopback that remembers what it got and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.hold = threading.Event()  # while it is not set, nothing is answered
        self.hold.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.headers.append(dict(self.headers))
                hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                hook.hold.wait(20)
                self.send_response(hook.status)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/secret?key=hidden"

    def stop(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.stop()


def section(hook: Hook, **more: Any) -> NotifySection:
    return NotifySection(webhook=hook.url, **more)


def commanded(make: SiteMaker, script: str, timeout: str = "10s") -> Site:
    command = json.dumps(["/bin/sh", "-c", script])
    return make("[single]\n", more=f'[notify]\ncommand = {command}\ntimeout = "{timeout}"\n')


def test_a_message_is_for_people_and_for_programs() -> None:
    found = message([replace(FAILURE, url="http://ui/runs/r1")], "station")
    assert found["text"] == (
        "Carbonation, station: 1 failure\n"
        "- run r1 of watch_incoming failed: run7: no instrument http://ui/runs/r1"
    )
    assert (found["service"], found["number"], found["failures"][0]["kind"]) == ("station", 1, "run_failure")


def test_a_burst_is_one_message_of_a_bounded_length() -> None:
    found = message([replace(FAILURE, reason="x" * 5000)] * 10_000, "station")
    assert found["number"] == 10_000
    assert len(found["failures"]) == notify.LONGEST_LIST
    assert found["text"].endswith("- and 9980 more")
    assert len(json.dumps(found)) < 60_000


def test_the_webhook_gets_json_and_the_token(hook: Hook) -> None:
    post(section(hook, token="hidden"), message([FAILURE], "station"))
    assert hook.got[0]["failures"][0]["name"] == "r1"
    assert hook.headers[0]["Authorization"] == "Bearer hidden"
    assert hook.headers[0]["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [301, 307, 401, 500])
def test_only_success_counts_and_no_redirection_is_followed(hook: Hook, status: int) -> None:
    hook.status = status
    with pytest.raises(NotifyError) as raised:
        post(section(hook, token="hidden"), {})
    assert str(raised.value) == f"127.0.0.1 answered with status {status}"
    assert len(hook.got) == 1


def test_a_webhook_that_hangs_is_left_in_time(hook: Hook) -> None:
    hook.hold.clear()
    began = time.monotonic()
    with pytest.raises(NotifyError, match=r"^127\.0\.0\.1 did not answer within 0\.2 s$"):
        post(section(hook, timeout=timedelta(seconds=0.2)), {})
    assert time.monotonic() - began < 10


def test_nobody_listens_and_no_secret_is_repeated(hook: Hook) -> None:
    hook.stop()
    with pytest.raises(NotifyError) as raised:
        post(section(hook, token="hidden"), {})
    assert "Connection refused" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_a_command_gets_the_message_on_its_standard_input(make: SiteMaker) -> None:
    site = commanded(make, "cat > told.json")
    run_command(site.project.config, message([FAILURE], "station"))
    assert json.loads((site.directory / "told.json").read_text())["number"] == 1


def test_a_command_that_does_not_read_is_no_error(make: SiteMaker) -> None:
    run_command(commanded(make, "exit 0").project.config, {"text": "x" * 1_000_000})


def test_a_command_that_fails_or_is_not_there_is_named(make: SiteMaker) -> None:
    site = commanded(make, "exit 3")
    with pytest.raises(NotifyError, match=r'^command "/bin/sh" ended with exit code 3$'):
        run_command(site.project.config, {})
    section = site.project.config.notify.model_copy(update={"command": ("/no/such/program",)})
    config = site.project.config.model_copy(update={"notify": section})
    with pytest.raises(NotifyError, match=r'^command "/no/such/program" cannot be started: No such file'):
        run_command(config, {})


def test_a_command_that_hangs_is_ended_with_all_it_started(make: SiteMaker) -> None:
    site = commanded(make, "sleep 600 & echo $! > pid; wait", timeout="0.5s")
    with pytest.raises(NotifyError, match=r"took longer than 0\.5 s and was ended"):
        run_command(site.project.config, {})
    child = Path("/proc", (site.directory / "pid").read_text().strip())
    end = time.monotonic() + 10
    while child.exists() and "Z" not in (child / "stat").read_text().rpartition(")")[2].split()[0]:
        assert time.monotonic() < end, "what the command started goes on"
        time.sleep(0.01)


def test_a_target_that_is_not_reached_is_left_longer_each_time_and_is_a_problem(make: SiteMaker) -> None:
    site = make("[single]\n", more='[notify]\nwebhook = "https://hooks.example.org/secret"\n')
    site.tick()
    pauses = []
    for _ in range(9):
        note(site.project, "webhook", "hooks.example.org answered with status 500")
        pauses.append(unreached(site.project)[0].again_at - site.now)
    assert pauses[:3] == [timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)]
    assert pauses[-1] == timedelta(hours=1)
    (problem,) = status(site.project).problems
    assert problem == (
        "notify: no message gets through to the webhook: hooks.example.org answered with status 500; "
        "the next attempt is at 2026-01-01 13:00:00 UTC"
    )
    note(site.project, "webhook", None)
    assert status(site.project).problems == ()
