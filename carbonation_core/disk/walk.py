"""Trees of any size, a directory at a time and several at once; unreadable is an error, never "empty"."""

import errno
import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from carbonation_core.disk.paths import NOWHERE
from carbonation_core.disk.stamp import Stamp
from carbonation_core.errors import ScanError
from carbonation_core.names import to_text

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
AT_ONCE = 1000  # entries or files that a thread takes in one go
_NO_FILE = (*NOWHERE, errno.ENAMETOOLONG)  # what is too deep for a path can be nobody's
_OF_THE_DISK = "lost+found"  # of the file system itself, at the root of a mount, and closed to us


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory entry that is no directory, by its absolute path as the system spells it."""

    path: str
    is_symlink: bool


class Pool:
    """Threads that look at many places at once, never far ahead of whoever takes the answers."""

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers)
        self._ahead = 2 * workers

    def shut(self) -> None:
        """Let the threads go, and what they have not begun."""
        self._threads.shutdown(cancel_futures=True)

    def each(self, ask: Callable[[T], R], questions: Iterable[T]) -> Iterator[R]:
        """The answers in the order of the questions, of which a few are taken in advance."""
        asked: deque[Future[R]] = deque()
        for question in questions:
            asked.append(self._threads.submit(ask, question))
            if len(asked) > self._ahead:
                yield asked.popleft().result()
        while asked:
            yield asked.popleft().result()

    def walk(self, root: str, enters: Callable[[str], bool]) -> Iterator[list[Entry]]:
        """What lies under `root`, in lists that each are of one directory.

        `enters` is asked with the path of each directory below it. Symlinks are never
        followed. A root that is not there has nothing under it. Raises `ScanError` for
        a directory that cannot be read.
        """
        waiting = [_Listing(root)]
        asked: set[Future[_Part]] = set()
        while waiting or asked:
            while waiting and len(asked) <= self._ahead:
                asked.add(self._threads.submit(waiting.pop().part))
            done, asked = wait(asked, return_when=FIRST_COMPLETED)
            for part in (one.result() for one in done):
                waiting += [_Listing(path) for path in part.directories if enters(path)]
                if part.rest is not None:
                    waiting.append(part.rest)
                if part.entries:
                    yield part.entries


@contextmanager
def pool(workers: int) -> Iterator[Pool]:
    """So many threads, which end with the block."""
    made = Pool(workers)
    try:
        yield made
    finally:
        made.shut()


@dataclass(frozen=True)
class _Part:
    """Some of what a directory holds; `rest` goes on with it."""

    entries: list[Entry]
    directories: list[str]
    rest: "_Listing | None"


class _Listing:
    """A directory that is listed a part at a time, so that a huge one is never held whole."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._found: Iterator[os.DirEntry[str]] | None = None

    def part(self) -> _Part:
        entries: list[Entry] = []
        directories: list[str] = []
        try:
            if self._found is None:
                self._found = os.scandir(self._path)
            for entry in self._found:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.path)
                else:
                    entries.append(Entry(entry.path, entry.is_symlink()))
                if len(entries) + len(directories) >= AT_ONCE:
                    return _Part(entries, directories, self)
        except (FileNotFoundError, NotADirectoryError):
            pass  # it left since it was listed
        except PermissionError as error:
            if os.path.basename(self._path) != _OF_THE_DISK:
                raise _unreadable(self._path, error) from None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise _unreadable(self._path, error) from None
            log.warning("%s lies too deep for a path to lead there, and is left out", to_text(self._path))
        return _Part(entries, directories, None)


def look_at(path: str) -> Stamp | str:
    """The stamp of the file there, of a symlink that of its target; or why there is none.

    Raises `ScanError` when nobody can tell.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise _unreadable(path, error) from None
        return "is a symlink that leads nowhere" if os.path.islink(path) else "is not there"
    return Stamp.of(found) if stat.S_ISREG(found.st_mode) else "is not a file"


def own_stamp(path: str) -> Stamp | None:
    """The stamp of what lies there, of a symlink its own; None if nothing does.

    Raises `ScanError` when nobody can tell.
    """
    try:
        return Stamp.of(os.stat(path, follow_symlinks=False))
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise _unreadable(path, error) from None
        return None


def _unreadable(path: str, error: OSError) -> ScanError:
    return ScanError(f"{to_text(path)}: cannot be looked at: {error.strerror or error}")
