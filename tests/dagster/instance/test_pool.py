"""Warm workers: who gets a run, what a run leaves behind, and what becomes of those that die."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from carbonation_dagster.instance.launcher import SOCKET, NoWorkers, ask

ROOT = Path(__file__).parents[3]


class Running:
    """A pool in a process of its own; runs do what their names say, see `pool_process`."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.dagster.instance._helpers.pool_process", str(home)],
            cwd=ROOT,
            env={**os.environ, **environment},
        )

    def ask(self, **question: str) -> dict[str, Any]:
        return ask(self.home, question, patience=60)

    def run(self, name: str) -> dict[str, Any]:
        """Have a run executed, and wait for what it writes."""
        assert "worker" in self.ask(run=name)
        state = dict(json.loads(self.read(name)))
        wait_for(lambda: name not in self.workers().values())
        return state

    def read(self, name: str) -> str:
        wait_for(lambda: (self.home / name).exists())
        return (self.home / name).read_text(encoding="utf-8")

    def workers(self) -> dict[str, str | None]:
        return dict(self.ask()["workers"])

    def stop(self) -> None:
        """End it, if the test has not done so."""
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(60) == 0


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited for 60 s"
        time.sleep(0.01)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    try:
        yield running
        running.stop()
    finally:
        running.process.kill()
        running.process.wait()


def test_one_worker_executes_one_run_after_another_and_two_work_at_once(pool: Running) -> None:
    first, second = pool.run("see-1"), pool.run("see-2")
    assert first["pid"] == second["pid"]

    pool.ask(run="wait-1")
    pool.read("wait-1")
    other = pool.run("see-3")
    assert other["pid"] != first["pid"]
    (pool.home / "wait-1.end").touch()
    wait_for(lambda: set(pool.workers().values()) == {None})


def test_a_run_finds_all_as_it_was_before_the_one_that_spoilt_it(pool: Running) -> None:
    before = pool.run("see-1")
    pool.run("spoil-1")
    after = pool.run("see-2")
    assert after == before


def test_a_worker_that_dies_is_reported_with_its_run_and_harms_no_other(pool: Running) -> None:
    pool.ask(run="wait-1")
    pool.read("wait-1")
    pool.ask(run="die-1")
    assert pool.read("die-1.reported") == "the process of the run was ended by SIGSEGV"
    assert pool.run("see-1")["directory"] == str(ROOT)
    (pool.home / "wait-1.end").touch()
    wait_for(lambda: set(pool.workers().values()) == {None})
    assert not (pool.home / "wait-1.reported").exists()


def test_a_pool_answers_while_it_cannot_report_a_death(pool: Running) -> None:
    pool.ask(run="die-locked")
    wait_for(lambda: pool.workers() == {})
    assert pool.run("first")["pid"]
    assert not (pool.home / "die-locked.reported").exists()

    (pool.home / "die-locked.end").touch()
    assert pool.read("die-locked.reported") == "the process of the run was ended by SIGSEGV"


def test_a_run_that_cannot_even_be_executed_is_reported(pool: Running) -> None:
    pool.ask(run="fail-1")
    told = "could not be executed: OSError: the run's row is not there"
    assert pool.read("fail-1.reported") == told
    pool.run("see-1")


def test_ending_a_run_ends_that_run_alone(pool: Running) -> None:
    for name in ("wait-1", "wait-2"):
        pool.ask(run=name)
        pool.read(name)
    before = pool.workers()
    assert pool.ask(terminate="wait-1") == {"told": True}
    pool.read("wait-1.interrupted")
    assert pool.ask(terminate="see-0") == {"told": False}
    (pool.home / "wait-2.end").touch()
    wait_for(lambda: set(pool.workers().values()) == {None})
    assert not (pool.home / "wait-2.interrupted").exists()
    assert pool.workers().keys() == before.keys()  # its worker lives on


def test_a_run_waits_a_moment_for_a_worker_when_all_slots_are_taken(tmp_path: Path) -> None:
    pool = Running(tmp_path, SLOTS="1", PATIENCE="60")
    try:
        pool.ask(run="wait-1")
        pool.read("wait-1")
        (only,) = pool.workers()
        with ThreadPoolExecutor(1) as threads:
            second = threads.submit(pool.run, "see-1")
            wait_for(lambda: pool.ask()["waiting"] == ["see-1"])
            (tmp_path / "wait-1.end").touch()
            assert second.result()["pid"] == int(only)
        pool.stop()
    finally:
        pool.process.kill()
        pool.process.wait()


def test_whoever_asks_twice_for_a_run_gets_the_worker_that_has_it(pool: Running) -> None:
    first = pool.ask(run="wait-1")
    assert pool.ask(run="wait-1") == first
    assert len(pool.workers()) == 1
    (pool.home / "wait-1.end").touch()


def test_a_run_whose_asker_waits_no_more_is_left_to_the_process_that_it_got_instead(pool: Running) -> None:
    pool.workers()
    pool.process.send_signal(signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.connect(str(pool.home / SOCKET))
        asking.send(b'{"run": "see-1"}')
    pool.process.send_signal(signal.SIGCONT)
    assert pool.workers() == {}


def test_words_that_are_no_question_harm_nobody(pool: Running) -> None:
    pool.workers()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.connect(str(pool.home / SOCKET))
        asking.send(b"hello")
        assert asking.recv(10) == b""
    assert pool.run("see-1")["pid"] != pool.process.pid


def test_a_worker_is_renewed_after_many_runs_and_let_go_when_it_is_idle(tmp_path: Path) -> None:
    pool = Running(tmp_path, MOST_RUNS="2", IDLE="0.5")
    try:
        pids = [pool.run(f"see-{number}")["pid"] for number in range(3)]
        assert pids[0] == pids[1] != pids[2]
        wait_for(lambda: not pool.workers())
        pool.stop()
    finally:
        pool.process.kill()
        pool.process.wait()


def test_a_run_ends_though_the_pool_was_killed(pool: Running) -> None:
    pool.ask(run="wait-1")
    pool.read("wait-1")
    (worker,) = pool.workers()
    pool.process.kill()
    pool.process.wait()
    (pool.home / "wait-1.end").touch()
    wait_for(lambda: (pool.home / "wait-1").read_text(encoding="utf-8") != "")
    wait_for(lambda: not Path(f"/proc/{worker}").exists())
    assert not answers(pool)


def test_no_run_begins_with_what_is_outdated(pool: Running) -> None:
    pool.run("see-1")
    (pool.home / "outdated").touch()
    with pytest.raises(NoWorkers):
        ask(pool.home, {"run": "see-2"}, patience=0)
    assert pool.process.wait(60) == 0
    assert not (pool.home / "see-2").exists()


def test_a_stop_waits_for_runs(pool: Running) -> None:
    pool.ask(run="wait-1")
    pool.read("wait-1")
    pool.process.send_signal(signal.SIGTERM)
    wait_for(lambda: not answers(pool))
    assert pool.process.poll() is None
    (pool.home / "wait-1.end").touch()
    assert pool.process.wait(60) == 0


def answers(pool: Running) -> bool:
    """Whether somebody listens."""
    try:
        return bool(ask(pool.home, {}, patience=0))
    except NoWorkers:
        return False
