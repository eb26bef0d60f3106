"""What the kernel tells of changes in a tree, by watchdog's bindings to inotify(7).

Watchdog's own reader of that queue will not do. It passes over IN_Q_OVERFLOW, so
that nobody learns that events were lost; it hears nothing of a directory that is
moved in; an event from a directory that it has just forgotten ends it without a
word; and it keeps every rename for ever, which is one a file where senders
rename their files into place.
"""

import ctypes
import errno
import os
import select
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from watchdog.observers.inotify_c import InotifyConstants as In
from watchdog.observers.inotify_c import inotify_add_watch, inotify_init, inotify_rm_watch

# A directory: it can never be taken for a delivery, and one that a killed process left is empty.
PROBE = ".carbonation-probe"
_AT_ONCE = 1 << 16  # bytes of events, far more than the longest takes
_HEADER = struct.Struct("iIII")  # of an event: watch, mask, cookie, bytes of the name after it
_COME = In.IN_CREATE | In.IN_MOVED_TO
_GONE = In.IN_DELETE | In.IN_MOVED_FROM
_OUT_OF_REACH = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EACCES, errno.ELOOP)
_SELF = In.IN_DELETE_SELF | In.IN_MOVE_SELF | In.IN_UNMOUNT | In.IN_IGNORED
_MASK = (
    (_COME | _GONE | In.IN_MODIFY | In.IN_ATTRIB | In.IN_CLOSE_WRITE)
    | (In.IN_DELETE_SELF | In.IN_MOVE_SELF)
    | (In.IN_ONLYDIR | In.IN_EXCL_UNLINK)
)


class Listener:
    """Listens to a tree from a thread of its own, until it is stopped or hears no more.

    `enters` is asked with the name of each directory below the root. `changed` is
    called with each path, absolute and as the system spells it, and whether it is a
    directory, whose whole content may have changed then; `ended` once when events
    were lost, the tree has gone, or the system grants no more watches: then `fault`
    says why, if it is an error. Raises `OSError` when it cannot begin.
    """

    def __init__(
        self,
        root: Path,
        enters: Callable[[str], bool],
        changed: Callable[[str, bool], None],
        ended: Callable[[], None],
    ) -> None:
        self._root, self._enters = str(root), enters
        self._changed, self._ended = changed, ended
        self.fault: OSError | None = None
        self.is_listening = True  # whether it still hears of what happens at its root
        self.identity = identity(root)
        self._paths: dict[int, str] = {}  # by watch
        self._watches: dict[str, int] = {}
        self._heard = threading.Event()
        self._kernel = inotify_init()
        if self._kernel == -1:
            raise _error()
        os.set_inheritable(self._kernel, False)
        self._stop = os.eventfd(0)
        try:
            self._add(self._root, In.IN_ONLYDIR)
            self._add_below(self._root)
        except BaseException:
            self._close()
            raise
        self._thread = threading.Thread(target=self._listen, name=f"events of {root}", daemon=True)
        self._thread.start()

    def hears(self, seconds: float) -> bool:
        """Whether events come from there, tried by a directory that comes and goes.

        Where none can be made nobody can tell, and they are taken to come.
        """
        probe = os.path.join(self._root, PROBE)
        try:
            with suppress(FileExistsError):
                os.mkdir(probe)
            with suppress(FileNotFoundError):
                os.rmdir(probe)
        except OSError:
            return True
        return self._heard.wait(seconds)

    def stop(self) -> None:
        """Hear no more; to be called once, also when it has ended by itself."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._close()

    def _listen(self) -> None:
        try:
            poll = select.poll()
            poll.register(self._kernel, select.POLLIN)
            poll.register(self._stop, select.POLLIN)
            while self._stop not in (fd for fd, _ in poll.poll()):
                if not all(map(self._take, _events(os.read(self._kernel, _AT_ONCE)))):
                    break
        except OSError as error:
            self.fault = error
        finally:
            self.is_listening = False
            self._ended()

    def _close(self) -> None:
        os.close(self._kernel)
        os.close(self._stop)

    def _take(self, event: tuple[int, int, str]) -> bool:
        """Tell of an event; whether others can be trusted after it."""
        watch, mask, name = event
        if mask & In.IN_Q_OVERFLOW:
            return False
        directory = self._paths.get(watch)
        if directory is None:
            return True  # it has been forgotten; whoever made us forget it was told
        if mask & _SELF:
            if mask & In.IN_IGNORED:
                self._forget(directory)
            return directory != self._root
        if name == PROBE:
            self._heard.set()
            return True
        path = os.path.join(directory, name) if name else directory
        if mask & In.IN_ISDIR and name:
            if not self._enters(name):
                return True
            if mask & In.IN_MOVED_FROM:
                self._forget_below(path)
            elif not mask & In.IN_DELETE:
                # Before it is told: what comes while it is looked at is then told again.
                self._add_below(path, itself=True)
        self._changed(path, bool(mask & In.IN_ISDIR))
        return True

    def _add_below(self, directory: str, itself: bool = False) -> None:
        """Listen to all directories in a directory, as far as they can be read."""
        waiting = [directory] if itself else self._directories_in(directory)
        while waiting:
            path = waiting.pop()
            try:
                self._add(path, In.IN_DONT_FOLLOW)
            except OSError as error:
                # Gone since, or too deep for a path, or closed to us: if it is opened, that is an
                # event of its parent.
                if error.errno not in _OUT_OF_REACH:
                    raise
            else:
                waiting += self._directories_in(path)

    def _directories_in(self, path: str) -> list[str]:
        try:
            with os.scandir(path) as found:
                directories = [entry for entry in found if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []  # gone since, or closed to us
        return [entry.path for entry in directories if self._enters(entry.name)]

    def _add(self, path: str, how: int) -> None:
        watch = inotify_add_watch(self._kernel, os.fsencode(path), _MASK | how)
        if watch == -1:
            raise _error()
        # A directory under another name than before keeps its watch.
        if watch in self._paths:
            self._watches.pop(self._paths[watch], None)
        self._paths[watch], self._watches[path] = path, watch

    def _forget(self, path: str) -> None:
        watch = self._watches.pop(path, None)
        if watch is not None:
            self._paths.pop(watch, None)

    def _forget_below(self, path: str) -> None:
        for one in [path, *(known for known in self._watches if known.startswith(f"{path}/"))]:
            if (watch := self._watches.get(one)) is not None:
                self._forget(one)
                inotify_rm_watch(self._kernel, watch)


def identity(root: Path) -> tuple[int, int]:
    """What tells a directory from another one in its place; raises `OSError`."""
    found = root.stat()
    return found.st_dev, found.st_ino


def _events(read: bytes) -> Iterator[tuple[int, int, str]]:
    """Watch, mask and name of each event."""
    place = 0
    while place < len(read):
        watch, mask, _, length = _HEADER.unpack_from(read, place)
        place += _HEADER.size + length
        yield watch, mask, os.fsdecode(read[place - length : place].rstrip(b"\0"))


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
