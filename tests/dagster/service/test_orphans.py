"""What a service leaves behind, and who ends it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from carbonation_core.errors import ConfigError
from carbonation_dagster.environment import STOP_FILE
from carbonation_dagster.service import orphans, started
from carbonation_dagster.service.lock import AlreadyRunsError, OwnFiles, alone
from carbonation_dagster.service.orphans import Guard, Leftover, end, leftovers
from carbonation_dagster.service.processes import CODE_SERVER, Part
from tests.site import Site

# A part, and a process of its own session that it leaves behind.
FAMILY = "setsid sleep 1000 & exec sleep 1000"
SERVICE = f"""
import subprocess, sys, time
from pathlib import Path
from carbonation_dagster.environment import STOP_FILE
from carbonation_dagster.service.orphans import Guard
guard = Guard(Path(sys.argv[1]))
subprocess.Popen(["sh", "-c", "{FAMILY}"], env={{STOP_FILE: sys.argv[1], "PATH": "/bin:/usr/bin"}})
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    stop_mark = tmp_path / "stopping"
    yield stop_mark
    end(stop_mark, time.monotonic())


def family(mark: Path, script: str = FAMILY) -> subprocess.Popen[bytes]:
    environment = {**os.environ, STOP_FILE: str(mark)}
    return subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.PIPE)


def number(mark: Path) -> int:
    with leftovers(mark) as alive:
        return len(alive)


def wait_for(mark: Path, wanted: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while number(mark) != wanted:
        assert time.monotonic() < deadline, number(mark)
        time.sleep(0.05)


def test_descendants_are_found_whoever_their_parent_is(mark: Path, tmp_path: Path) -> None:
    process, other = family(mark), family(tmp_path / "another")
    try:
        wait_for(mark, 2)
        process.kill()
        process.wait()
        wait_for(mark, 1)

        end(mark, time.monotonic())
        assert number(mark) == 0
        assert other.poll() is None
    finally:
        end(tmp_path / "another", time.monotonic())
        for one in (process, other):
            one.communicate()


def test_the_parent_of_each_is_told(mark: Path) -> None:
    process = family(mark)
    wait_for(mark, 2)
    with leftovers(mark) as alive:
        assert {one.parent for one in alive if one.pid == process.pid} == {os.getpid()}
        assert {one.parent for one in alive if one.pid != process.pid} == {process.pid}
    end(mark, time.monotonic())
    process.communicate()


@pytest.mark.parametrize(("parent", "reported"), [(1, []), (7, ["all"])], ids=["a run", "an idle worker"])
def test_runs_of_a_dead_code_server_are_reported_unless_a_process_may_have_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, parent: int, reported: list[str]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(started.runs, "report_orphans", lambda instance: said.append("all"))
    monkeypatch.setattr(orphans, "leftovers", lambda mark: nullcontext([Leftover(8, parent, 0)]))
    own = OwnFiles(tmp_path)
    setup = started.Setup(own, {}, {}, tmp_path, cast(Any, None), 0, cast(Any, None))
    setup.before_start(Part(CODE_SERVER, (), lambda: lambda: True), [7])
    assert said == reported


def test_they_are_asked_before_they_are_killed(mark: Path, tmp_path: Path) -> None:
    given_back = tmp_path / "given back"
    # Without another process, which would bear the mark too, and be asked to end before it has begun.
    script = f"trap ': >\"{given_back}\"; exit' TERM; echo ready; while :; do sleep 0.1; done"
    process = family(mark, script)
    assert process.stdout is not None
    process.stdout.readline()

    end(mark, time.monotonic() + 6)
    assert given_back.exists()
    assert number(mark) == 0
    process.communicate()


def test_when_a_service_is_killed_its_guard_ends_what_it_left(mark: Path) -> None:
    service = subprocess.Popen([sys.executable, "-c", SERVICE, str(mark)], stdout=subprocess.PIPE)
    assert service.stdout is not None
    service.stdout.readline()
    wait_for(mark, 2)

    service.kill()
    service.communicate()
    wait_for(mark, 0, 10)
    assert mark.exists()  # so that what held work could give it back


def test_a_guard_is_not_ended_by_what_ends_the_service_and_is_replaced_when_killed(mark: Path) -> None:
    with Guard(mark) as guard:
        first = guard._process
        first.send_signal(signal.SIGKILL)
        first.wait()
        guard.keep()
        assert guard._process.pid != first.pid
        guard.keep()
    assert guard._process.returncode == 0
    assert not mark.exists()  # nothing was left


def test_a_directory_that_cannot_be_written_is_a_sentence(site: Site) -> None:
    (site.directory / ".dagster").write_text("a file")
    refused = pytest.raises(ConfigError, match=r"\.dagster: the service cannot write there: File exists")
    with refused, alone(site.project.config):
        pass


def test_one_service_runs_for_a_project_and_a_killed_one_is_in_nobodys_way(site: Site) -> None:
    config = site.project.config
    holder = "import sys; from carbonation_core.config.loading import load_config\n"
    holder += "from carbonation_dagster.service.lock import alone\n"
    holder += "with alone(load_config(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", holder, str(config.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    other.stdout.readline()

    refused = pytest.raises(AlreadyRunsError, match=f"already, with pid {other.pid}; stop that one first")
    with refused, alone(config):
        pass
    other.kill()
    other.communicate()
    with alone(config) as own:
        assert own.stop_mark.parent == site.directory / ".dagster"
