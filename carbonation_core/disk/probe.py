"""Whether directories can be reached, and how much room is left there, asked in time.

A mount whose server has gone makes whoever asks wait for ever; so each one is
asked by a thread that can be left behind.
"""

import os
import stat
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ANSWER_WITHIN = 5.0  # seconds, for all directories together


@dataclass(frozen=True, slots=True)
class Probe:
    """A directory now: a `fault` says why it cannot be listed; `free` and `total` are bytes, if known.

    One that `is_silent` has not answered in time: whoever asks it now may wait for ever.
    """

    path: Path
    fault: str | None = None
    is_empty: bool = False
    free: int | None = None
    total: int | None = None
    is_silent: bool = False


class Prober:
    """Asks directories again and again, but none that has not answered yet."""

    def __init__(self) -> None:
        self._threads: dict[Path, threading.Thread] = {}
        self._answers: dict[Path, Probe] = {}
        self._lock = threading.Lock()

    def ask(self, paths: Iterable[Path], seconds: float) -> dict[Path, Probe]:
        """Each of these directories as it is now; one that is missing has the room of where it would be."""
        asked = set(paths)
        with self._lock:
            for path in asked:
                if path not in self._threads or not self._threads[path].is_alive():
                    self._answers.pop(path, None)
                    self._threads[path] = threading.Thread(target=self._look, args=(path,), daemon=True)
                    self._threads[path].start()
            end = time.monotonic() + seconds
            for path in asked:
                self._threads[path].join(max(0.0, end - time.monotonic()))
            silent = f"does not answer within {seconds:g} s"
            return {path: self._answers.get(path) or Probe(path, silent, is_silent=True) for path in asked}

    def _look(self, path: Path) -> None:
        self._answers[path] = _look(path)


def probe(paths: Iterable[Path], seconds: float = ANSWER_WITHIN) -> dict[Path, Probe]:
    """Each of these directories as it is now; one that is missing has the room of where it would be."""
    return Prober().ask(paths, seconds)


def mode_of(path: Path) -> int | None:
    """The mode of what lies there; None when nothing does, or nobody can tell."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None


def _look(path: Path) -> Probe:
    fault, is_empty = None, False
    try:
        with os.scandir(path) as entries:
            is_empty = next(entries, None) is None
    except OSError as error:
        fault = f"cannot be looked at: {error.strerror}"
    # Path.is_dir raises where a directory above may not be entered.
    there = next((one for one in (path, *path.parents) if os.path.isdir(one)), path)
    try:
        found = os.statvfs(there)
    except OSError:
        return Probe(path, fault, is_empty)
    return Probe(path, fault, is_empty, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
