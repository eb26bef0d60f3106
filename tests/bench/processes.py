"""What processes cost, by /proc: CPU seconds, memory, and what others on the machine use."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

PAUSE = 0.01  # seconds between two looks at a process
TICK = os.sysconf("SC_CLK_TCK")  # in a second


@dataclass(frozen=True)
class Cost:
    """What something took; `megabytes` is the peak of its first process, as last seen before its end."""

    seconds: float
    cpu: float
    megabytes: float


def command(arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Cost:
    """Run it to its end; raises `RuntimeError` with what it said if it fails."""
    began, peak, pid = time.monotonic(), 0.0, 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*map(str, arguments)], env=environment, stdout=subprocess.DEVNULL, stderr=said
        )
        while not pid:
            # What the system counts as a child's peak begins with its parent's size; this does not.
            peak = max(peak, _peak(process.pid))
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            time.sleep(0 if pid else PAUSE)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            why = said.read()[-3000:].decode(errors="replace")
            raise RuntimeError(f"{' '.join(map(str, arguments))}: exit code {process.returncode}\n{why}")
    return Cost(time.monotonic() - began, used.ru_utime + used.ru_stime, peak)


def alone(of: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(of, *arguments).result()


def tree(root: int) -> list[int]:
    """A process and all that it started, as far as they live."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu(root: int) -> float:
    """CPU seconds of a tree so far, with those of children that have ended."""
    return sum(sum(map(int, fields[11:15])) for pid in tree(root) if (fields := _stat(pid))) / TICK


def memory(root: int) -> float:
    """MB that a tree has: shared pages are divided among those that share them (PSS)."""
    found = 0
    for pid in tree(root):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        match = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
        found += int(match[1]) if match else 0
    return found / 1024


class Others:
    """How many cores processes that are not ours have used since this was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._all, self._ours = _used(), cpu(os.getpid())

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def cores(self) -> float | None:
        """None where nobody knows: what processes used that ended, and that none of ours waited for."""
        ours = cpu(os.getpid()) - self._ours
        return max(0.0, _used() - self._all - ours) / self.seconds() if ours >= 0 else None


def _used() -> float:
    """CPU seconds of the machine since it started."""
    fields = [*map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])]
    user, nice, system, _, _, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / TICK


def _peak(pid: int) -> float:
    """The most MB that a process had so far; 0 when it has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def _stat(pid: int) -> list[str]:
    """Its fields from the third on; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
