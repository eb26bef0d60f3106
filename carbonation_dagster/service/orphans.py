"""Processes that a service has left behind, and the guard that ends them when it is killed itself.

All that a service starts, and all that those start, inherit the path of its stop
mark in their environment. By it they are found, whoever their parent is by now.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from carbonation_dagster.environment import STOP_FILE

TO_GIVE_BACK = 5.0  # seconds for what they hold, when nobody is left to ask them


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process that lives. `handle` names it alone, even if its pid were given again (pidfd_open(2))."""

    pid: int
    parent: int
    handle: int

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended needs none."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, number)


@contextlib.contextmanager
def leftovers(stop_mark: Path) -> Iterator[list[Leftover]]:
    """The processes that live with that stop mark, but for this one."""
    entry = f"{STOP_FILE}={stop_mark}".encode()
    found: list[Leftover] = []
    with contextlib.ExitStack() as stack:
        for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()):
            if pid == os.getpid():
                continue
            try:
                handle = os.pidfd_open(pid)
                stack.callback(os.close, handle)
                inherited = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                # After its name, which may hold anything: proc_pid_stat(5).
                parent = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
            except OSError:  # it has ended, or is another user's
                continue
            if entry in inherited:
                found.append(Leftover(pid, parent, handle))
        yield found


def end(stop_mark: Path, deadline: float) -> None:
    """Wait until nothing is left, or make an end by force once `time.monotonic()` reaches `deadline`.

    They are asked to give back what they hold when a third of the time is left.
    One that the kernel holds longer than a second after that is left to it.
    """
    ask_at = deadline - (deadline - time.monotonic()) / 3
    asked: set[int] = set()
    while (now := time.monotonic()) < deadline + 1:
        with leftovers(stop_mark) as alive:
            if not alive:
                return
            for one in alive:
                if now >= deadline:
                    one.send(signal.SIGKILL)
                elif now >= ask_at and one.pid not in asked:
                    one.send(signal.SIGTERM)
                    asked.add(one.pid)
        time.sleep(0.1)


class Guard:
    """A process that outlives this one for a moment, and ends whatever this one could not."""

    def __init__(self, stop_mark: Path) -> None:
        self._stop_mark = stop_mark
        self._process = self._start()

    def keep(self) -> None:
        """Have another, if it was killed."""
        if self._process.poll() is not None:
            self._close()
            self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._close()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  # our own words
            [sys.executable, "-P", "-m", __name__, str(self._stop_mark)],
            stdin=subprocess.PIPE,  # its end is how the guard learns of ours, however that comes
            start_new_session=True,
        )

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Wait for the end of standard input, then end what lives with the stop mark that is named."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the service, which tells us by its end
    stop_mark = Path(sys.argv[1])
    sys.stdin.buffer.read()
    with leftovers(stop_mark) as alive:
        if not alive:
            return
    with contextlib.suppress(OSError):
        stop_mark.touch()
    end(stop_mark, time.monotonic() + TO_GIVE_BACK)


if __name__ == "__main__":
    main()
