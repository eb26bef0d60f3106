"""A process of the service that the pool of workers has forked for it, and that is no child of this one."""

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

UNTOLD = 1 << 16  # no exit code; that of a process whose parent is gone is known to nobody


class CannotForkError(Exception):
    """Nobody forks one; it is to be started by itself."""


class Forked:
    """Behaves as a `subprocess.Popen`. Its `handle` names it alone (pidfd_open(2))."""

    def __init__(self, home: Path, pid: int, handle: int) -> None:
        self.pid = pid
        self._home = home
        self._handle: int | None = handle  # as long as it lives
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        if self._code is None and self._has_ended(0):
            self._code = self._told_code()
        return self._code

    def wait(self, timeout: float | None = None) -> None:
        """Until it has ended; raises `TimeoutExpired` when it has not by then."""
        if not self._has_ended(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)

    def terminate(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def _has_ended(self, timeout: float | None) -> bool:
        if self._handle is not None:
            poll = select.poll()
            poll.register(self._handle, select.POLLIN)
            if poll.poll(None if timeout is None else timeout * 1000):
                os.close(self._handle)
                self._handle = None
        return self._handle is None

    def _told_code(self) -> int:
        from carbonation_dagster.instance.launcher import NoWorkers, ask

        code = None
        with suppress(NoWorkers):
            code = ask(self._home, {"ended": self.pid}, patience=0).get("code")
        return UNTOLD if code is None else code


def fork(
    command: Sequence[str], directory: Path, streams: Sequence[int], home: Path, patience: float
) -> Forked:
    """The process of that command, by the pool of that home; raises `CannotForkError`."""
    from carbonation_dagster.instance.launcher import NoWorkers, ask

    question = {"part": command, "directory": str(directory)}
    try:
        answer = ask(home, question, patience, streams)
    except NoWorkers as error:
        raise CannotForkError(str(error)) from error
    if "handle" not in answer:
        raise CannotForkError(answer.get("error", "no answer to it"))
    return Forked(home, answer["pid"], answer["handle"])
