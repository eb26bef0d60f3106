"""Who works on a batch: a process, named so that others can tell whether it still lives."""

import getpass
import os
import signal
import socket
import traceback
from pathlib import Path

LONGEST_HOST = 64  # characters (gethostname(2))


def this_process(run_id: str) -> str:
    """The name of this process working on a run: boot, process namespace, pid, start time, run.

    Together they are never given twice, which a pid alone is (proc(5)).
    """
    return name_of(os.getpid(), run_id)


def name_of(pid: int, run_id: str) -> str:
    """The name of a process that lives here, as `this_process` gives it."""
    return f"{_here()}/{pid}/{_start_time(pid)}#{run_id}"


def pid_of(owner: str) -> int | None:
    """The pid of a process of that name that can be seen from here, whether or not it lives."""
    here, _, rest = owner.partition("#")[0].partition("/")
    pid = rest.partition("/")[0]
    return int(pid) if here == _here() and pid.isdecimal() else None


def user_name() -> str:
    """Whose process this is; the number of a user without a name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def host_name() -> str:
    """The name of the host that this process runs on, at most `LONGEST_HOST` characters."""
    return socket.gethostname()[:LONGEST_HOST]


def is_told_to_end(error: BaseException) -> bool:
    """Whether it tells this process to end, and what was at work only happened to be."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    codes = [getattr(handler, "__code__", None) for handler in handlers]
    by_signal = any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))
    return by_signal or isinstance(error, KeyboardInterrupt)


def is_dead(owner: str) -> bool:
    """Whether that process has surely ended; False for one that cannot be seen from here."""
    pid = pid_of(owner)
    return pid is not None and _start_time(pid) != owner.partition("#")[0].rpartition("/")[2]


def _here() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return "unknown"
    return f"{boot}-{namespace.strip('pid:[]')}"


def _start_time(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # After the command, which may hold blanks and parentheses: state is the
    # first field, the start time in clock ticks the twentieth.
    state, *others = fields.rpartition(")")[2].split()
    return None if state in "ZX" else others[18]
