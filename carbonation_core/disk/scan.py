"""What lies in a delivery directory, as values. Unreadable is an error, never "empty"."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from carbonation_core.config.sections import Watch
from carbonation_core.disk.paths import NOWHERE, followed, real_path
from carbonation_core.disk.stamp import Stamp
from carbonation_core.errors import ScanError
from carbonation_core.names import to_path, to_text

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


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
    """One look at a tree: its files, and the places that could not be looked at.

    `as_known` are not among the files: so many more lie there as whoever looks knows them.
    """

    files: tuple[Seen, ...]
    unreadable: tuple[tuple[str, str], ...] = ()  # relative path, reason
    as_known: int = 0

    @property
    def number(self) -> int:
        """How many files lie there."""
        return len(self.files) + self.as_known

    def could_see(self, path: str) -> bool:
        """Whether a file of that relative path would have been seen."""
        return not any(path.startswith(f"{directory}/") for directory, _ in self.unreadable)


@dataclass(frozen=True)
class Hints:
    """Where something may have changed, relative to the watch and spelled as text.

    Of `directories` the whole content is to be looked at anew; `everything` is to
    be looked at whatever else is said. `by_events`: file events say it, or do not
    come, None when nobody listens; `trouble` says why they do not though they should.
    `quiet` is for how many seconds no event has told of each of `files`.
    """

    files: frozenset[str] = frozenset()
    directories: frozenset[str] = frozenset()
    everything: bool = False
    by_events: bool | None = None
    trouble: str | None = None
    quiet: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def told_of(self, path: str) -> bool:
        """Whether a file event told of that path, or of a directory that it lies in."""
        if not self.by_events:
            return False
        found = path in self.files
        while not found and "/" in path:
            path = path.rpartition("/")[0]
            found = path in self.directories
        return found


EVERYTHING = Hints(everything=True)


def look(
    watch: Watch, hints: Hints = EVERYTHING, is_known: Callable[[Seen], bool] = lambda seen: False
) -> Look:
    """What lies in a watch now, where the hints point; of what is known as it lies there only the number.

    Raises `ScanError` when its directory itself cannot be read.
    """
    return _Looking(watch, is_known).at(hints)


class _Looking:
    def __init__(self, watch: Watch, is_known: Callable[[Seen], bool]) -> None:
        self._watch, self._root, self._is_known = watch, str(watch.path), is_known
        self._unreadable: list[tuple[str, str]] = []

    def at(self, hints: Hints) -> Look:
        if hints.everything:
            return self._look(self._below(""))
        self._require_root()
        found: dict[str, Seen] = {}
        for directory in filter(self._watch.enters, hints.directories):
            found |= {seen.path: seen for seen in self._below(to_path(directory))}
        for path in filter(self._watch.takes, hints.files - found.keys()):
            seen = self._one(to_path(path))
            if seen is not None:
                found[path] = seen
        return self._look(found.values())

    def _look(self, found: Iterable[Seen]) -> Look:
        files: list[Seen] = []
        as_known = 0
        for seen in found:
            if self._is_known(seen):
                as_known += 1
            else:
                files.append(seen)
        return Look(tuple(files), tuple(self._unreadable), as_known)

    def _require_root(self) -> None:
        """Refuse to look where a root that has gone would make its files look gone."""
        try:
            with os.scandir(self._root):
                pass
        except OSError as error:
            raise ScanError(f"{self._root}: cannot be looked at: {error.strerror}") from None

    def _below(self, relative: str) -> Iterator[Seen]:
        waiting = [relative]
        while waiting:
            directory = waiting.pop()
            before = f"{directory}/" if directory else ""
            directories, files = self._listed(directory)
            # Of those above it this was asked before.
            waiting += [before + name for name in directories if self._watch.enters(to_text(name))]
            for name in files:
                if self._watch.takes(to_text(name)) and (seen := self._one(before + name)) is not None:
                    yield seen

    def _listed(self, relative: str) -> tuple[list[str], list[str]]:
        """The names of the directories in it, and of all else."""
        directories: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(os.path.join(self._root, relative)) as found:
                for entry in found:
                    (directories if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
        except OSError as error:
            if not relative:
                raise ScanError(f"{self._root}: cannot be looked at: {error.strerror}") from None
            if error.errno not in NOWHERE:
                self._unreadable.append((to_text(relative), error.strerror or str(error)))
            return [], []
        return directories, files

    def _one(self, relative: str) -> Seen | None:
        """A file, or None if it has left since it was listed or is nothing to archive."""
        path = os.path.join(self._root, relative)
        try:
            found = os.stat(path, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NOWHERE:
                # A path that is too long is a matter of this file alone, all else of its directory.
                hidden = relative if error.errno == errno.ENAMETOOLONG else os.path.dirname(relative)
                self._unreadable.append((to_text(hidden), error.strerror or str(error)))
            return None
        fault = None
        if stat.S_ISLNK(found.st_mode):
            found, fault = self._followed(path, found)
        elif stat.S_ISDIR(found.st_mode):
            return None
        if fault is None and not stat.S_ISREG(found.st_mode):
            fault = f"is {_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, not a file"
        return Seen(to_text(relative), Stamp.of(found), fault)

    def _followed(self, path: str, link: os.stat_result) -> tuple[os.stat_result, str | None]:
        """What a symlink leads to, or the link itself and why it is not followed."""
        if self._watch.symlinks == "refuse":
            return link, "is a symlink, which this watch refuses"
        try:
            target = followed(path)
            found = os.stat(target, follow_symlinks=False)
        except OSError:
            return link, "is a symlink that leads nowhere"
        if not Path(target).is_relative_to(real_path(self._watch.path)):
            return link, "is a symlink to something outside its watch"
        return found, None


def unreadable(path: str) -> str | None:
    """Why the file may not be read, or None if it may.

    An error of the disk is no fault of the file; whoever reads on meets it again
    and waits for the disk.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError as error:
        return f"cannot be read: {error.strerror}"
    except OSError:
        return None
    return None
