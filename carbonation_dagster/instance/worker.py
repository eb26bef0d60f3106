"""A warm worker: executes one run after another, each in its main thread, as Dagster expects.

It belongs to a pool (`carbonation_dagster.instance.pool`), which tells it over a
socket which run to execute and which to end; when the pool is gone, it ends after
the run that it has. What a plugin left behind is put right between two runs.
"""

import importlib
import json
import logging
import os
import queue
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import dagster as dg
from dagster._cli.api import _execute_run_command_body
from dagster._utils.interrupts import capture_interrupts

from carbonation_core.process import this_process
from carbonation_dagster.instance.launcher import DEFINITIONS, HOST_TAG, LONGEST_WORD, WORKER_TAG

_SIGNALS = tuple(signal.Signals)

log = logging.getLogger("carbonation_dagster.instance.worker")  # it may be __main__


def load() -> None:
    """Import what runs need, and resolve it, so that no run does."""
    definitions: dg.Definitions = importlib.import_module(DEFINITIONS).defs
    definitions.get_repository_def().load_all_definitions()


def serve(pool: socket.socket) -> None:
    """Execute what the pool asks for, until it says no more."""
    with dg.DagsterInstance.get() as instance:

        def execute(run_id: str) -> None:
            # Not by the launcher: Dagster writes a run's row as it has read it, and of two
            # processes that do so at once one takes back what the other wrote.
            tags = {WORKER_TAG: this_process(run_id), HOST_TAG: socket.gethostname()}
            instance.add_run_tags(run_id, tags)
            _execute_run_command_body(run_id, instance, lambda event: None, set_exit_code_on_failure=False)

        Worker(pool, execute).serve()


class Worker:
    """One run at a time. `execute` gets its id, and is interrupted by SIGINT, as Dagster's runs are."""

    def __init__(self, pool: socket.socket, execute: Callable[[str], None]) -> None:
        self._pool, self._execute = pool, execute
        self._runs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._current: str | None = None
        self._to_end: str | None = None  # a run that was to be ended before it began
        self._lock = threading.Lock()
        self._stops = False

    def serve(self) -> None:
        """Work, in the main thread, until the pool or a signal ends it."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        threading.Thread(target=self._listen, daemon=True, name="pool").start()
        before = _memory()  # what a plugin has loaded is there for every run
        while not self._stops and (run_id := self._runs.get()) is not None:
            fault = self._run(run_id)
            done = {"done": run_id, "fault": fault, "growth": _memory() - before}
            try:
                self._pool.send(json.dumps(done).encode())
            except OSError:  # the pool is gone, and so are we
                return

    def _run(self, run_id: str) -> str | None:
        """Execute a run; returns why it could not even be executed."""
        with as_it_was(), capture_interrupts():
            with self._lock:
                self._current = run_id
                if self._to_end == run_id:
                    signal.raise_signal(signal.SIGINT)
            try:
                self._execute(run_id)
            except Exception as error:
                log.exception("run %s broke off", run_id)
                return f"{type(error).__name__}: {error}"
            finally:
                # From here on nobody interrupts this thread for the sake of this run.
                with self._lock:
                    self._current = None
        return None

    def _listen(self) -> None:
        while word := self._heard():
            asked = json.loads(word)
            if "run" in asked:
                self._runs.put(asked["run"])
            else:
                self._interrupt(asked["terminate"])
        self._runs.put(None)

    def _heard(self) -> bytes:
        try:
            return self._pool.recv(LONGEST_WORD)
        except OSError:
            return b""

    def _interrupt(self, run_id: str) -> None:
        with self._lock:
            if self._current == run_id:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            else:
                self._to_end = run_id

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stops = True
        self._runs.put(None)


@contextmanager
def as_it_was() -> Iterator[None]:
    """Directory, environment, mode mask, search path, signals, alarms: afterwards what they were before."""
    directory, environment, path = Path.cwd(), dict(os.environ), list(sys.path)
    mask = os.umask(0o077)
    os.umask(mask)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        os.chdir(directory)
        os.umask(mask)
        sys.path[:] = path
        if os.environ != environment:
            os.environ.clear()
            os.environ.update(environment)
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _memory() -> int:
    """The most that this process had in memory, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """A worker that could not be forked: it loads all for itself."""
    pool = socket.socket(fileno=int(sys.argv[1]))
    code = 1
    try:
        load()
        serve(pool)
        code = 0
    except Exception:
        log.exception("a worker ended by a fault of its own")
    finally:
        logging.shutdown()
        os._exit(code)  # a thread of the plugin's would keep the process for ever


if __name__ == "__main__":
    main()
