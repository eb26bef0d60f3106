"""What lies in a delivery directory, as values. Unreadable is an error, never "empty"."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from carbonation_core.config import Symlinks
from carbonation_core.errors import ScanError
from carbonation_core.names import to_text

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one state of a file from another, without reading it.

    `inode` is device and inode number; times are nanoseconds since 1970.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: str

    @classmethod
    def of(cls, found: os.stat_result) -> "Stamp":
        """The stamp of a stat result."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, f"{found.st_dev}:{found.st_ino}")


@dataclass(frozen=True, slots=True)
class Seen:
    """A directory entry that could be a delivered file.

    `path` is relative to the watch and spelled as text; `fault` says why it can
    never be archived as it is.
    """

    path: str
    stamp: Stamp
    fault: str | None = None


@dataclass(frozen=True)
class Look:
    """One look at a tree: its files, and the directories that could not be read."""

    files: tuple[Seen, ...]
    unreadable: tuple[tuple[str, str], ...] = ()  # relative directory, reason

    def could_see(self, path: str) -> bool:
        """Whether a file of that relative path would have been seen."""
        return not any(path.startswith(f"{directory}/") for directory, _ in self.unreadable)


def look(root: Path, recursive: bool, symlinks: Symlinks, wanted: Callable[[str], bool]) -> Look:
    """What lies under `root` now; `wanted` is asked with each file name.

    Raises `ScanError` when `root` itself cannot be read.
    """
    unreadable: list[tuple[str, str]] = []

    def entries(relative: str) -> Iterator[Seen]:
        directory = os.path.join(root, relative) if relative else str(root)
        try:
            with os.scandir(directory) as found:
                listed = list(found)
        except OSError as error:
            if not relative:
                raise ScanError(f"{root}: cannot be looked at: {error.strerror}") from None
            if not isinstance(error, FileNotFoundError):
                unreadable.append((to_text(relative), error.strerror or str(error)))
            return
        for entry in listed:
            inner = f"{relative}/{entry.name}" if relative else entry.name
            if entry.is_dir(follow_symlinks=False):
                if recursive:
                    yield from entries(inner)
                continue
            if not wanted(to_text(entry.name)):
                continue
            try:
                yield _seen(entry, inner, root, symlinks)
            except FileNotFoundError:
                continue  # it left between the listing and the look

    return Look(tuple(entries("")), tuple(unreadable))


def _seen(entry: os.DirEntry[str], relative: str, root: Path, symlinks: Symlinks) -> Seen:
    found = entry.stat(follow_symlinks=False)
    fault = None
    if stat.S_ISLNK(found.st_mode):
        if symlinks == "refuse":
            fault = "is a symlink, which this watch refuses"
        else:
            try:
                target = os.path.realpath(entry.path, strict=True)
                found = os.stat(target, follow_symlinks=False)
            except OSError:
                fault = "is a symlink that leads nowhere"
            else:
                if not Path(target).is_relative_to(os.path.realpath(root)):
                    fault = "is a symlink to something outside its watch"
    if fault is None and not stat.S_ISREG(found.st_mode):
        fault = f"is {_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, not a file"
    return Seen(to_text(relative), Stamp.of(found), fault)


def unreadable(path: str) -> str | None:
    """Why a file cannot be read, or None if it can."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None
