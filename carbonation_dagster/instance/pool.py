"""Keeps warm workers: a process without threads that has loaded everything, and forks.

`carbonation run` starts one. It is asked over a socket in DAGSTER_HOME, see
`carbonation_dagster.instance.launcher`: for a worker for a run, and to end one.
It begins anew, keeping its socket, when configuration, plugin or release change
on disk; workers that are busy then end with the run that they have.
"""

import gc
import json
import logging
import os
import select
import selectors
import signal
import socket
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import dagster as dg

from carbonation_core.config.loading import ACCEPTED_VARIABLE, find_config, load_config
from carbonation_core.errors import CarbonationError
from carbonation_core.plugin import load_plugin
from carbonation_core.process import name_of
from carbonation_dagster.environment import DAGSTER_HOME
from carbonation_dagster.instance import storages, worker
from carbonation_dagster.instance.launcher import LONGEST_WORD, SOCKET

MOST_RUNS = 50  # of one worker, after which it is renewed: plugins leak
MOST_GROWTH = 200 * 2**20  # bytes, the same
IDLE = 60.0  # seconds without a run, after which a worker ends
CLOCK_STEP = 20_000_000  # ns; by so much the time of a file may be behind the clock
LOOKS = 1.0  # seconds between two looks at what is loaded
LISTENING = "CARBONATION_WORKERS_SOCKET"  # the socket that this process goes on with when it begins anew

_LIBRARIES = tuple({f"{sysconfig.get_path(name)}/" for name in ("stdlib", "purelib", "platlib")})

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]  # size, time of content, time of change: a copy may keep the former two
Stamps = dict[str, Stamp]
Start = Callable[[socket.socket, Sequence[socket.socket]], int]


@dataclass
class Kept:
    """A worker, and what it has."""

    pid: int
    to: socket.socket
    run_id: str | None = None
    runs: int = 0
    idle_since: float = field(default_factory=time.monotonic)


class Pool:
    """Workers, and the questions about them.

    `start` makes a worker for one end of a socket, without the others, and returns
    its pid; `report` tells Dagster of a run whose worker has died.
    """

    def __init__(
        self,
        listening: socket.socket,
        start: Start,
        report: Callable[[str, str], None],
        is_outdated: Callable[[], bool] = lambda: False,
        trouble: str | None = None,
    ) -> None:
        self.stops = False
        self.trouble = trouble  # why no run can be executed
        self._listening, self._start, self._report = listening, start, report
        self._is_outdated = is_outdated
        self._workers: dict[int, Kept] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(listening, selectors.EVENT_READ, self._answer)

    def serve(self) -> None:
        """Answer questions until all this `stops`, or is outdated; then idle workers are let go."""
        looked, over = time.monotonic(), False
        with self._woken_by_signals():
            while not self.stops and not over:
                for key, _ in self._selector.select(LOOKS):
                    key.data(key.fileobj)
                self._bury()
                if time.monotonic() - looked > LOOKS:
                    looked, over = time.monotonic(), self._is_outdated()
                self._let_go(lambda kept: time.monotonic() - kept.idle_since > IDLE)
            self._let_go(lambda kept: True)

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
            question = json.loads(asking.recv(LONGEST_WORD) or b"{}")
            if _is_gone(asking):
                return  # it waited too long, and has had the run executed otherwise
            if "run" in question and self._is_outdated():
                return  # no answer: whoever asks does so again, and is heard by what comes next
            asking.send(json.dumps(self._answer_to(question)).encode())

    def _answer_to(self, question: dict[str, str]) -> dict[str, Any]:
        if "run" in question:
            return {"error": self.trouble} if self.trouble else {"worker": self._given(question["run"])}
        if "terminate" in question:
            return {"told": self._told_to_end(question["terminate"])}
        return {"pid": os.getpid(), "workers": {kept.pid: kept.run_id for kept in self._workers.values()}}

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
        while (ended := _ended_child()) is not None:
            pid, status = ended
            kept = self._workers.pop(pid, None)
            if kept is None:  # it has reported; or is of the time before this process began anew
                continue
            if kept.to.fileno() >= 0:
                self._hear_last(kept)
                self._close(kept)
            if kept.run_id:
                self._report(kept.run_id, f"the process of the run {_how(status)}")

    def _hear_last(self, kept: Kept) -> None:
        with suppress(OSError, ValueError):
            kept.to.setblocking(False)
            done = json.loads(kept.to.recv(LONGEST_WORD))
            kept.run_id = None
            self._report_fault(done)


def _is_gone(asking: socket.socket) -> bool:
    poll = select.poll()
    poll.register(asking, select.POLLRDHUP)
    return bool(poll.poll(0))


def _ended_child() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def forked(serve: Callable[[socket.socket], None]) -> Start:
    """How to start a worker that has all that this process has loaded."""

    def start(to: socket.socket, others: Sequence[socket.socket]) -> int:
        def work() -> None:
            for other in others:
                other.close()
            serve(to)

        pid = os.fork()
        if pid == 0:
            _do_and_end(work)
        return pid

    return start


def apart(report: Callable[[str, str], None]) -> Callable[[str, str], None]:
    """The same in a process of its own: a locked storage takes half a minute, and the pool is to answer."""

    def report_apart(run_id: str, why: str) -> None:
        if os.fork() == 0:
            _do_and_end(lambda: report(run_id, why))

    return report_apart


def _do_and_end(work: Callable[[], None]) -> NoReturn:
    """All that a forked process does."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        work()
        code = 0
    except BaseException:
        log.exception("a process of the pool ended by a fault of its own")
    finally:
        logging.shutdown()
        os._exit(code)  # what the parent is to do at its end is not ours


def _spawn(to: socket.socket, others: Sequence[socket.socket]) -> int:
    to.set_inheritable(True)  # the others are not
    command = [sys.executable, "-m", worker.__name__, str(to.fileno())]
    return os.posix_spawn(sys.executable, command, os.environ)


def may_fork() -> bool:
    """Whether loading left this process without threads, which a fork would not have."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    return threads == 1 and threading.active_count() == 1


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


def _stamps(plugin_package: str, also: Collection[str] = ()) -> Stamps:
    """The stamp of each file that a run depends on: the configuration in force, and code.

    Of what is installed, that is this release and the plugin; of the rest, all
    that is not, as it may be edited.
    """
    found = {os.environ.get(ACCEPTED_VARIABLE) or str(find_config()), *also}
    installed = {"carbonation_core", "carbonation_dagster", plugin_package}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and (name.partition(".")[0] in installed or not file.startswith(_LIBRARIES)):
            found.add(file)
    return {file: _stamp(file) for file in found}


def _stamp(file: str) -> Stamp:
    try:
        seen = Path(file).stat()
    except OSError:
        return 0, 0, 0
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _unchanged(stamps: Stamps, began: int) -> Stamps:
    """Those of files that did not change since `began` (ns): of the others nobody knows what was loaded."""
    now = time.time_ns()  # a file of the future is one of a clock that was set back
    return {file: stamp for file, stamp in stamps.items() if not began - CLOCK_STEP <= stamp[2] <= now}


def _files_behind(error: BaseException | None) -> set[str]:
    """The files that a fault came from: what could not be imported is no module."""
    found: set[str] = set()
    while error is not None:
        found |= {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
        if isinstance(error, SyntaxError) and error.filename:
            found.add(error.filename)
        error = error.__cause__ or error.__context__
    return found


def _plugin_package() -> str:
    try:
        return load_plugin(load_config()).file_model.__module__.partition(".")[0]
    except CarbonationError:
        return ""


def listening_at(home: Path) -> socket.socket:
    """The socket of this home, ours from before or a new one."""
    kept = os.environ.pop(LISTENING, None)
    if kept is not None:
        return socket.socket(fileno=int(kept))
    directory = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with suppress(FileNotFoundError):
        os.unlink(SOCKET, dir_fd=directory)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(f"/proc/self/fd/{directory}/{SOCKET}")
    os.close(directory)
    listening.listen(128)
    return listening


def main() -> None:
    """Serve until a signal says that the service ends."""
    home = os.environ[DAGSTER_HOME]
    listening = listening_at(Path(home))
    began, trouble, faulty = time.time_ns(), None, set[str]()
    try:
        worker.load()
    except Exception as error:  # as of a plugin that is being edited
        log.exception("the definitions cannot be loaded")
        trouble = f"the definitions cannot be loaded: {type(error).__name__}: {error}"
        faulty = _files_behind(error)
    package = _plugin_package()
    loaded = _unchanged(_stamps(package, faulty), began)
    storages.close_kept()
    gc.collect()
    gc.freeze()
    forks, report = may_fork(), _report_to(home)
    start = forked(worker.serve) if forks else _spawn
    report = apart(report) if forks else report
    pool = Pool(listening, start, report, lambda: _stamps(package, faulty) != loaded, trouble)

    def stop(number: int, frame: object) -> None:
        pool.stops = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    pool.serve()
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
