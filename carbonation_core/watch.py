"""Hints about what changed in delivery, from file events. A look says what is true.

Events may be lost: when the kernel's queue overflows, when a directory is
unmounted, on file systems that tell nothing of other hosts' writes. So every
doubt ends in a look at the whole tree, and so does every few minutes.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from carbonation_core.config import Watch
from carbonation_core.names import to_text
from carbonation_core.scan import Hints

log = logging.getLogger(__name__)

FULL_LOOK_EVERY = 300.0  # seconds; what every event missed is found by then
# The kernel drops events when 16,384 (its default) wait to be read. Those that
# waited still come, so whoever counts as many as this may have missed some.
TOO_MANY_EVENTS = 8192
# Of these, inotify(7) tells nothing of what other hosts write.
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "vboxsf")
_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]


class Watcher:
    """Gathers hints about one watch, from its first use on.

    `poll_interval` is how often the whole tree is looked at where there are no
    events. `monotonic` is a clock in seconds.
    """

    def __init__(
        self,
        watch: Watch,
        poll_interval: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch = watch
        self._poll_interval = poll_interval
        self._monotonic = monotonic
        self._condition = threading.Condition()
        self._files: set[str] = set()
        self._directories: set[str] = set()
        self._events = 0  # since the last full look
        self._doubt = True
        self._last_full = monotonic()
        self._observer: BaseObserver | None = None
        self.trouble: str | None = None  # why there are no events where there should be

    @contextmanager
    def hints(self) -> Iterator[Hints | None]:
        """What to look at now; None is everything. If the look fails, everything is next.

        The hints are cleared before the look: what changes during it is told again.
        """
        self._see_to_events()
        with self._condition:
            full = self._must_look_at_all()
            taken = Hints(frozenset(self._files), frozenset(self._directories))
            self._files.clear()
            self._directories.clear()
            if full:
                self._events, self._doubt = 0, False
                self._last_full = self._monotonic()
        try:
            yield None if full else taken
        except BaseException:
            self._be_in_doubt()
            raise

    def wait(self, seconds: float) -> bool:
        """Wait until there is a hint, at most so long; whether there is one."""
        with self._condition:
            return self._condition.wait_for(
                lambda: bool(self._files or self._directories or self._doubt), seconds
            )

    def stop(self) -> None:
        """Gather no more."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()

    def _must_look_at_all(self) -> bool:
        interval = self._poll_interval if self._observer is None else FULL_LOOK_EVERY
        return (
            self._doubt or self._events > TOO_MANY_EVENTS or self._monotonic() - self._last_full >= interval
        )

    def _be_in_doubt(self) -> None:
        with self._condition:
            self._doubt = True
            self._condition.notify_all()

    def _see_to_events(self) -> None:
        """Start to listen, or start anew after the directory was away."""
        if self._observer is not None:
            if self._observer.is_alive() and all(e.is_alive() for e in self._observer.emitters):
                return
            self.stop()
            self._be_in_doubt()
        if self._watch.observer == "polling":
            return
        kind = file_system(self._watch.path)
        if self._watch.observer == "auto" and kind.startswith(REMOTE):
            return
        observer = Observer()
        try:
            # Bytes in, bytes out: names that are not UTF-8 come through as they are.
            observer.schedule(
                _Handler(self._noticed),
                os.fsencode(self._watch.path),  # type: ignore[arg-type]  # takes bytes, says str
                recursive=self._watch.recursive,
                event_filter=_EVENTS,
            )
            observer.start()
        except OSError as error:
            self._cannot_listen(error)
            with suppress(RuntimeError):
                observer.stop()
            return
        self._observer = observer
        self.trouble = None
        self._be_in_doubt()  # of what came before we listened

    def _cannot_listen(self, error: OSError) -> None:
        limit = {
            errno.ENOSPC: "fs.inotify.max_user_watches",
            errno.EMFILE: "fs.inotify.max_user_instances",
        }.get(error.errno or 0)
        advice = f"; raise it with: sysctl {limit}=…" if limit else ""
        trouble = f"{self._watch.path}: no file events, so it is polled: {error.strerror or error}{advice}"
        if trouble != self.trouble:
            log.warning("watch %s: %s", self._watch.name, trouble)
        self.trouble = trouble

    def _noticed(self, event: FileSystemEvent) -> None:
        with self._condition:
            for path in (event.src_path, event.dest_path):
                if path:
                    self._note(os.fsdecode(path), event.is_directory)
            self._condition.notify_all()

    def _note(self, path: str, is_directory: bool) -> None:
        self._events += 1
        root = str(self._watch.path)
        if path == root:
            self._doubt = True
            return
        if self._events > TOO_MANY_EVENTS:
            return  # all is looked at anyway, so nothing needs to be remembered
        relative = to_text(os.path.relpath(path, root))
        (self._directories if is_directory else self._files).add(relative)


class Watchers:
    """The watchers of a process, made when they are first asked for."""

    def __init__(self, poll_interval: float) -> None:
        self._poll_interval = poll_interval
        self._watchers: dict[str, Watcher] = {}
        self._lock = threading.Lock()

    def of(self, watch: Watch) -> Watcher:
        """The watcher of a watch."""
        with self._lock:
            if watch.name not in self._watchers:
                self._watchers[watch.name] = Watcher(watch, self._poll_interval)
            return self._watchers[watch.name]

    def stop(self) -> None:
        """Stop them all."""
        with self._lock:
            for watcher in self._watchers.values():
                watcher.stop()
            self._watchers.clear()


def file_system(path: Path) -> str:
    """The type of the file system that a path is on, as /proc/self/mountinfo names it."""
    resolved = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                fields, _, rest = line.partition(" - ")
                point = fields.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
                inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, rest.split()[0]
    except OSError:
        return ""
    return kind


class _Handler(FileSystemEventHandler):
    def __init__(self, noticed: Callable[[FileSystemEvent], None]) -> None:
        self._noticed = noticed

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._noticed(event)
