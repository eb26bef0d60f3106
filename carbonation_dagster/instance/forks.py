"""Processes that a process without threads forks, and what they are to forget of it."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

WORKER = "carbonation_dagster.instance.worker"

Start = Callable[[socket.socket, Sequence[socket.socket]], int]

log = logging.getLogger(__name__)


def forget_parent() -> None:
    """Heed signals as a process does that was started anew."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def forked(serve: Callable[[socket.socket], None]) -> Start:
    """How to start a worker that has all that this process has loaded."""

    def start(to: socket.socket, others: Sequence[socket.socket]) -> int:
        def work() -> None:
            for other in others:
                other.close()
            serve(to)

        pid = os.fork()
        if pid == 0:
            do_and_end(work)
        return pid

    return start


def apart(report: Callable[[str, str], None]) -> Callable[[str, str], None]:
    """The same in a process of its own: a locked storage takes half a minute, and the pool is to answer."""

    def report_apart(run_id: str, why: str) -> None:
        if os.fork() == 0:
            do_and_end(lambda: report(run_id, why))

    return report_apart


def do_and_end(work: Callable[[], None]) -> NoReturn:
    """All that a forked process does, when it is to do only this."""
    code = 1
    try:
        forget_parent()
        work()
        code = 0
    except BaseException:
        log.exception("a process of the pool ended by a fault of its own")
    finally:
        logging.shutdown()
        os._exit(code)  # what the parent is to do at its end is not ours


def spawned(to: socket.socket, others: Sequence[socket.socket]) -> int:
    """Start a worker that loads all for itself."""
    to.set_inheritable(True)  # the others are not
    command = [sys.executable, "-m", WORKER, str(to.fileno())]
    return os.posix_spawn(sys.executable, command, os.environ)


def may_fork() -> bool:
    """Whether loading left this process without threads, which a fork would not have."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    return threads == 1 and threading.active_count() == 1


def ended_child() -> tuple[int, int] | None:
    """The pid and status of a child that has ended, if one has."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def how(status: int) -> str:
    """How it did, in words that follow its name."""
    code = os.waitstatus_to_exitcode(status)
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
