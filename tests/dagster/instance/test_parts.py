"""Parts of the service that the pool forks: what they find, and how their end is told."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from carbonation_dagster.instance.launcher import NoWorkers, ask
from carbonation_dagster.instance.pool import warm
from carbonation_dagster.service.forked import UNTOLD, CannotForkError, Forked, fork
from carbonation_dagster.service.home import dagster_yaml
from carbonation_dagster.service.processes import workers_part
from tests.dagster.instance.test_pool import Running, wait_for
from tests.site import SiteMaker

COMMAND = ("tests.dagster.instance._helpers.part_process", "--well")


class Part:
    """One that was forked, and both ends of its streams."""

    def __init__(self, pool: Running) -> None:
        input_end, self._input = os.pipe()
        self._output, output_end = os.pipe()
        try:
            streams = (input_end, output_end, 2)
            self.process: Forked = fork(COMMAND, pool.home, streams, pool.home, patience=60)
        finally:
            os.close(input_end)
            os.close(output_end)
        self.state: dict[str, Any] = json.loads(os.read(self._output, 10_000))

    def end_with(self, code: int) -> None:
        os.write(self._input, f"{code}\n".encode())

    def close(self) -> None:
        self.process.kill()
        os.close(self._input)
        os.close(self._output)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path, HOME_OF_POOL=str(tmp_path))
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def test_a_part_finds_itself_as_if_it_had_been_started(pool: Running) -> None:
    with closing(Part(pool)) as part:
        state = part.state
        assert state.pop("pid") == part.process.pid
        shown = state.pop("shown")
        assert shown[0] == "carbonation"
        assert shown[1] in COMMAND[0]
        assert state == {
            "arguments": [str(Path(__file__).parent / "_helpers" / "part_process.py"), COMMAND[1]],
            "directory": str(pool.home),
            "leads_session": True,
            "default_signals": True,
            "logs_to_parent": False,
            "name": "part_process",
            "given": True,
        }


def test_its_exit_code_is_told_and_what_ended_it(pool: Running) -> None:
    with closing(Part(pool)) as one, closing(Part(pool)) as other:
        assert one.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            one.process.wait(0.01)
        one.end_with(3)
        other.process.terminate()
        one.process.wait(60)
        other.process.wait(60)
        assert (one.process.poll(), other.process.poll()) == (3, -signal.SIGTERM)
        one.process.kill()  # it has ended, so nobody else is hit


def test_a_part_lives_on_when_the_pool_is_killed_and_keeps_no_worker_alive(pool: Running) -> None:
    pool.run("see-1")
    with closing(Part(pool)) as part:
        (worker,) = pool.workers()
        pool.process.kill()
        pool.process.wait()
        wait_for(lambda: not Path(f"/proc/{worker}/fd/0").exists())  # an idle one ends with its pool
        assert part.process.poll() is None
        part.process.terminate()
        part.process.wait(60)
        assert part.process.poll() == UNTOLD


def test_a_pool_warms_up_with_what_dagster_has(
    tmp_path: Path, make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pool that cannot goes on without, so that nobody would notice.
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(json.dumps(dagster_yaml(make().project.config, tmp_path)))
    monkeypatch.setattr(sys, "argv", workers_part(tmp_path, with_ui=True).command)
    warm()


def test_no_part_is_forked_from_what_is_outdated(pool: Running) -> None:
    pool.workers()
    (pool.home / "outdated").touch()
    with pytest.raises(NoWorkers):
        ask(pool.home, {"part": COMMAND, "directory": "/"}, patience=0)
    assert pool.process.wait(60) == 0


def test_where_a_fork_would_lack_threads_the_pool_says_so(tmp_path: Path) -> None:
    pool = Running(tmp_path, FORKS="")
    try:
        with pytest.raises(CannotForkError, match="has started threads"):
            fork(COMMAND, tmp_path, (0, 1, 2), tmp_path, patience=60)
    finally:
        pool.process.kill()
        pool.process.wait()


def test_where_no_pool_is_nothing_is_forked(tmp_path: Path) -> None:
    with pytest.raises(CannotForkError, match="nobody answers"):
        fork(COMMAND, tmp_path, (0, 1, 2), tmp_path, patience=0)
