"""Keeps warm workers: a process without threads that has loaded everything, and forks.

`carbonation run` starts one. It is asked over a socket in DAGSTER_HOME, see
`carbonation_dagster.instance.launcher`: for a worker for a run, to end one, and by
the service for a part of it, see `carbonation_dagster.instance.parts`. It begins
anew, keeping its socket, when configuration, plugin or release change on disk;
workers that are busy then end with the run that they have, and parts live on.
"""

import gc
import importlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from carbonation_core.config.loading import load_config
from carbonation_core.errors import CarbonationError
from carbonation_core.process import name_of
from carbonation_dagster.environment import DAGSTER_HOME
from carbonation_dagster.instance import parts, storages, worker
from carbonation_dagster.instance.forks import (
    Start,
    apart,
    ended_child,
    forget_parent,
    forked,
    how,
    may_fork,
    spawned,
)
from carbonation_dagster.instance.launcher import LISTENING, LONGEST_WORD, is_gone, listening_at
from carbonation_dagster.instance.stamps import (
    files_behind,
    files_loaded,
    plugin_package,
    stamps_of,
    unchanged,
)

MOST_RUNS = 50  # of one worker, after which it is renewed: plugins leak
MOST_GROWTH = 200 * 2**20  # bytes, the same
IDLE = 60.0  # seconds without a run, after which a worker ends
MOST_STREAMS = 3  # that a part is given
PATIENCE = 1.0  # seconds that a run waits for a worker that is about to be free, before it gets another
LOOKS = 1.0  # seconds between two looks at what is loaded

log = logging.getLogger("carbonation_dagster.instance.pool")  # it may be __main__


@dataclass
class Kept:
    """A worker, and what it has."""

    pid: int
    to: socket.socket
    run_id: str | None = None
    runs: int = 0
    idle_since: float = field(default_factory=time.monotonic)


@dataclass
class Waiting:
    """Who asked for a worker when as many as there are slots were busy."""

    asking: socket.socket
    run_id: str
    until: float = field(default_factory=lambda: time.monotonic() + PATIENCE)


class Pool:
    """Workers, and the questions about them.

    `start` makes a worker for one end of a socket, without the others, and returns
    its pid; `report` tells Dagster of a run whose worker has died. Parts of the
    service are forked where this process `forks`. There are rarely more workers than `slots`.
    """

    def __init__(
        self,
        listening: socket.socket,
        start: Start,
        report: Callable[[str, str], None],
        is_outdated: Callable[[], bool] = lambda: False,
        trouble: str | None = None,
        forks: bool = True,
        slots: int = 1,
    ) -> None:
        self.stops = False
        self.trouble = trouble  # why no run can be executed
        self._listening, self._start, self._report = listening, start, report
        self._is_outdated, self._forks = is_outdated, forks
        self._slots = slots
        self._workers: dict[int, Kept] = {}
        self._waiting: list[Waiting] = []
        self._ended: dict[int, int] = {}  # exit codes of what was no worker, by pid
        # By poll(2): what epoll(7) watches would be one with that of the processes forked.
        self._selector = selectors.PollSelector()
        self._selector.register(listening, selectors.EVENT_READ, self._answer)

    def serve(self) -> None:
        """Answer questions until all this `stops`, or is outdated; then idle workers are let go.

        In a process that was forked to be a part, `Begins` is raised.
        """
        looked, over = time.monotonic(), False
        with self._woken_by_signals():
            while not self.stops and not over:
                for key, _ in self._selector.select(PATIENCE if self._waiting else LOOKS):
                    key.data(key.fileobj)
                self._bury()
                self._answer_waiting()
                if time.monotonic() - looked > LOOKS:
                    looked, over = time.monotonic(), self._is_outdated()
                self._let_go(lambda kept: time.monotonic() - kept.idle_since > IDLE)
            self._let_go(lambda kept: True)
        for one in self._waiting:
            one.asking.close()  # they ask again

    def wait_for_runs(self) -> None:
        """Answer nobody any more, and wait until every worker has ended.

        They know by themselves that the service stops.
        """
        self._selector.unregister(self._listening)
        self._listening.close()
        with self._woken_by_signals():
            while self._workers:
                self._let_go(lambda kept: True)
                self._bury()
                for key, _ in self._selector.select(LOOKS if self._workers else 0):
                    key.data(key.fileobj)

    @contextmanager
    def _woken_by_signals(self) -> Iterator[None]:
        """A signal, as of a worker's end, ends the wait for a question."""
        reading, writing = socket.socketpair()
        with reading, writing:
            reading.setblocking(False)
            writing.setblocking(False)
            self._selector.register(reading, selectors.EVENT_READ, lambda ready: ready.recv(LONGEST_WORD))
            before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
            try:
                yield
            finally:
                signal.set_wakeup_fd(before)
                self._selector.unregister(reading)

    def _answer(self, listening: socket.socket) -> None:
        asking, _ = listening.accept()
        with asking, suppress(OSError, ValueError):  # who asked may be gone by now, or be a stranger
            asking.settimeout(LOOKS)
            word, streams, _, _ = socket.recv_fds(asking, LONGEST_WORD, MOST_STREAMS, socket.MSG_CMSG_CLOEXEC)
            try:
                question = json.loads(word or b"{}")
                if is_gone(asking):
                    return  # it waited too long, and has had the run executed otherwise
                if question.keys() & {"run", "part"} and self._is_outdated():
                    return  # no answer: whoever asks does so again, and is heard by what comes next
                if "run" in question and self._is_full(question["run"]):
                    # A batch is done a moment before its run is, and the next one comes at once.
                    self._waiting.append(Waiting(asking.dup(), question["run"]))
                elif "part" in question and self._forks:
                    self._fork_part(asking, question, streams)
                else:
                    asking.send(json.dumps(self._answer_to(question)).encode())
            finally:
                for stream in streams:
                    os.close(stream)

    def _is_full(self, run_id: str) -> bool:
        at_work = [kept.run_id for kept in self._workers.values()]
        return len(at_work) >= self._slots and None not in at_work and run_id not in at_work

    def _answer_waiting(self) -> None:
        for one in list(self._waiting):
            if time.monotonic() < one.until and self._is_full(one.run_id):
                continue
            self._waiting.remove(one)
            with one.asking as asking, suppress(OSError):
                if not is_gone(asking):
                    asking.send(json.dumps(self._answer_to({"run": one.run_id})).encode())

    def _fork_part(self, asking: socket.socket, question: dict[str, Any], streams: Sequence[int]) -> None:
        pid = os.fork()
        if pid == 0:
            forget_parent()
            others = [*(kept.to for kept in self._workers.values()), *(one.asking for one in self._waiting)]
            for other in (self._listening, *others):
                other.close()
            raise parts.Begins.asked(question, streams)
        handle = os.pidfd_open(pid)
        socket.send_fds(asking, [json.dumps({"pid": pid}).encode()], [handle])
        os.close(handle)

    def _answer_to(self, question: dict[str, Any]) -> dict[str, Any]:
        if "run" in question:
            return {"error": self.trouble} if self.trouble else {"worker": self._given(question["run"])}
        if "terminate" in question:
            return {"told": self._told_to_end(question["terminate"])}
        if "part" in question:
            return {"error": "a plugin has started threads, which a fork would not have"}
        if "ended" in question:
            self._bury()
            return {"code": self._ended.pop(question["ended"], None)}
        workers = {kept.pid: kept.run_id for kept in self._workers.values()}
        return {"pid": os.getpid(), "workers": workers, "waiting": [one.run_id for one in self._waiting]}

    def _given(self, run_id: str) -> str:
        """A worker that has the run now: one that is idle, else another.

        Who got no answer asks again: then it is the one that has it already.
        """
        for pid in (one.pid for one in self._workers.values() if one.run_id == run_id):
            return name_of(pid, run_id)
        while True:
            kept = next((one for one in self._workers.values() if one.run_id is None), None)
            if kept is None:
                kept = self._another()
            try:
                kept.to.send(json.dumps({"run": run_id}).encode())
            except OSError:  # it has just died
                self._close(kept)
                continue
            kept.run_id = run_id
            return name_of(kept.pid, run_id)

    def _another(self) -> Kept:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # A worker that held the other ends would not see that the pool is gone.
            others = [self._listening, ours, *(kept.to for kept in self._workers.values())]
            others += [one.asking for one in self._waiting]
            kept = Kept(self._start(theirs, others), ours)
        self._workers[kept.pid] = kept
        self._selector.register(ours, selectors.EVENT_READ, lambda _: self._hear(kept))
        return kept

    def _told_to_end(self, run_id: str) -> bool:
        for kept in self._workers.values():
            if kept.run_id == run_id:
                with suppress(OSError):
                    kept.to.send(json.dumps({"terminate": run_id}).encode())
                    return True
        return False

    def _hear(self, kept: Kept) -> None:
        try:
            word = kept.to.recv(LONGEST_WORD)
        except OSError:
            word = b""
        if not word:
            self._close(kept)
            return
        done = json.loads(word)
        kept.run_id, kept.idle_since, kept.runs = None, time.monotonic(), kept.runs + 1
        self._report_fault(done)
        if kept.runs >= MOST_RUNS or done["growth"] > MOST_GROWTH:
            self._close(kept)

    def _report_fault(self, done: dict[str, Any]) -> None:
        if done["fault"]:
            self._report(done["done"], f"could not be executed: {done['fault']}")

    def _let_go(self, which: Callable[[Kept], bool]) -> None:
        for kept in list(self._workers.values()):
            if kept.run_id is None and which(kept):
                self._close(kept)

    def _close(self, kept: Kept) -> None:
        """Say no more to a worker, so that it ends; it is buried later."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(kept.to)
        kept.to.close()
        if kept.run_id is None:
            kept.run_id = ""  # it gets no run any more

    def _bury(self) -> None:
        while (ended := ended_child()) is not None:
            pid, status = ended
            kept = self._workers.pop(pid, None)
            if kept is None:  # a part, or what has reported, or one of before this process began anew
                self._ended[pid] = os.waitstatus_to_exitcode(status)
                continue
            if kept.to.fileno() >= 0:
                self._hear_last(kept)
                self._close(kept)
            if kept.run_id:
                self._report(kept.run_id, f"the process of the run {how(status)}")

    def _hear_last(self, kept: Kept) -> None:
        with suppress(OSError, ValueError):
            kept.to.setblocking(False)
            done = json.loads(kept.to.recv(LONGEST_WORD))
            kept.run_id = None
            self._report_fault(done)


def _report_to(instance_home: str) -> Callable[[str, str], None]:
    def report(run_id: str, why: str) -> None:
        try:
            with dg.DagsterInstance.from_config(instance_home) as instance:
                run = instance.get_run_by_id(run_id)
                if run is not None and not run.is_finished:
                    instance.report_run_failed(run, why)
        except Exception:  # the daemon's monitoring finds it, too, only later
            log.exception("the end of run %s could not be reported to Dagster", run_id)
        finally:
            storages.close_kept()

    return report


def slots() -> int:
    """How many runs there are at a time, as the configuration in force says."""
    try:
        return load_config().service.slots
    except CarbonationError:
        return 1


def warm() -> None:
    """Do once what each process does as it begins: what that leaves in memory is then shared."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    with dg.DagsterInstance.get() as instance:
        instance.get_daemon_heartbeats()
        instance.all_instigator_state()


def main() -> None:
    """Serve until a signal says that the service ends. Parts to come need the modules that are named."""
    home = os.environ[DAGSTER_HOME]
    listening = listening_at(Path(home))
    began, trouble, faulty = time.time_ns(), None, set[str]()
    try:
        worker.load()
    except Exception as error:  # as of a plugin that is being edited
        is_ours = isinstance(error, CarbonationError)  # and a sentence that somebody can fix
        says = f"{error}" if is_ours else f"{type(error).__name__}: {error}"
        trouble = f"the definitions cannot be loaded: {says}"
        log.error("%s", trouble, exc_info=not is_ours)
        faulty = files_behind(error)
    with suppress(Exception):  # whoever needs it finds out
        warm()
    files = files_loaded(plugin_package(), faulty)
    loaded = unchanged(stamps_of(files), began)
    storages.close_kept()
    gc.collect()
    gc.freeze()
    forks, report = may_fork(), _report_to(home)
    start = forked(worker.serve) if forks else spawned
    report = apart(report) if forks else report
    pool = Pool(listening, start, report, lambda: stamps_of(files) != loaded, trouble, forks, slots())

    def stop(number: int, frame: object) -> None:
        pool.stops = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    part: parts.Begins | None = None
    try:
        pool.serve()
    except parts.Begins as begins:
        part = begins
    if part is not None:
        parts.become(part)
        return
    if pool.stops:
        pool.wait_for_runs()
        logging.shutdown()
        os._exit(0)  # a thread of the plugin's would keep the process for ever
    log.info("configuration, plugin or release have changed: workers are renewed")
    os.set_inheritable(listening.fileno(), True)
    environment = {**os.environ, LISTENING: str(listening.fileno())}
    command = [sys.executable, "-m", __spec__.name, *sys.argv[1:]]
    os.execve(sys.executable, command, environment)  # noqa: S606  # our own words, and no shell


if __name__ == "__main__":
    main()
