"""Who works on a batch: a process, named so that others can tell whether it still lives."""

import os
from pathlib import Path


def this_process(run_id: str) -> str:
    """The name of this process working on a run: boot, process namespace, pid, start time, run.

    Together they are never given twice, which a pid alone is (proc(5)).
    """
    pid = os.getpid()
    return f"{_here()}/{pid}/{_start_time(pid)}#{run_id}"


def is_dead(owner: str) -> bool:
    """Whether that process has surely ended; False for one that cannot be seen from here."""
    here, _, rest = owner.partition("#")[0].partition("/")
    pid, _, start_time = rest.partition("/")
    return here == _here() and pid.isdecimal() and _start_time(int(pid)) != start_time


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
