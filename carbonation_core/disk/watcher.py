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
from contextlib import contextmanager
from pathlib import Path

from carbonation_core.config.sections import Watch
from carbonation_core.disk import file_system
from carbonation_core.disk.inotify import Listener, identity
from carbonation_core.disk.scan import Hints
from carbonation_core.logs.records import about
from carbonation_core.names import to_text

log = logging.getLogger(__name__)

FULL_LOOK_EVERY = 300.0  # seconds; what every event missed is found by then
TRY_AGAIN_AFTER = 60.0  # seconds, where events were not to be had
PROBE_WAIT = 2.0  # seconds that an event may take to come
MOST_HINTS = 20_000  # paths that are remembered; to look at more would cost more than a look at everything
_LIMITS = {errno.ENOSPC: "fs.inotify.max_user_watches", errno.EMFILE: "fs.inotify.max_user_instances"}


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
        self._files: dict[str, float] = {}  # and when the last event told of each
        self._directories: set[str] = set()
        self._doubt = True
        self._last_full = monotonic()
        self._listener: Listener | None = None
        self._try_again = monotonic()
        self.trouble: str | None = None  # why there are no events where there should be

    @contextmanager
    def hints(self) -> Iterator[Hints]:
        """What to look at now. If the look fails, everything is next.

        The hints are cleared before the look: what changes during it is told again.
        """
        self._see_to_events()
        with self._condition:
            taken = Hints(
                frozenset(self._files),
                frozenset(self._directories),
                everything=self._must_look_at_all(),
                by_events=self._listener is not None,
                trouble=self.trouble,
                quiet={path: self._monotonic() - told for path, told in self._files.items()},
            )
            self._files.clear()
            self._directories.clear()
            if taken.everything:
                self._doubt = False
                self._last_full = self._monotonic()
        try:
            yield taken
        except BaseException:
            self._be_in_doubt()
            raise

    def wait(self, seconds: float) -> bool:
        """Wait until there is a hint, at most so long; whether there is one, or all is to be looked at."""
        with self._condition:
            has_hint = self._condition.wait_for(
                lambda: bool(self._files or self._directories or self._doubt), seconds
            )
            return has_hint or self._must_look_at_all()

    def stop(self) -> None:
        """Gather no more."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()

    def _must_look_at_all(self) -> bool:
        interval = self._poll_interval if self._listener is None else FULL_LOOK_EVERY
        return self._doubt or self._monotonic() - self._last_full >= interval

    def _be_in_doubt(self) -> None:
        with self._condition:
            self._doubt = True
            self._condition.notify_all()

    def _see_to_events(self) -> None:
        """Start to listen, or start anew when events were lost or another directory lies there."""
        if self._listener is not None:
            if self._listener.is_listening and _is_there(self._watch.path, self._listener):
                return
            fault = self._listener.fault
            self.stop()
            self._be_in_doubt()
            if fault is not None:
                self._poll(fault)
        wanted = {"polling": False, "native": True}.get(self._watch.observer)
        if wanted is None:
            wanted = not file_system.is_remote(
                self._watch.path
            )  # inotify(7) tells nothing of other hosts' writes
        if not wanted:
            self.trouble = None
        elif self._monotonic() >= self._try_again:
            self._listen()

    def _listen(self) -> None:
        try:
            listener = Listener(self._watch.path, self._enters, self._note, self._be_in_doubt)
        except (FileNotFoundError, NotADirectoryError):
            return  # the look says so, and it may come back at any time
        except OSError as error:
            self._poll(error)
            return
        if self._watch.observer == "auto" and not listener.hears(PROBE_WAIT):
            listener.stop()
            self._poll("a directory made there for a trial was not told of")
            return
        self._listener = listener
        self.trouble = None
        self._be_in_doubt()  # of what came before we listened

    def _poll(self, why: OSError | str) -> None:
        """Go on without events, and try again later."""
        self._try_again = self._monotonic() + TRY_AGAIN_AFTER
        if isinstance(why, OSError):
            limit = _LIMITS.get(why.errno or 0)
            why = why.strerror or str(why)
            if limit is not None:
                why = f"the system grants no more watches; raise its limit: sysctl -w {limit}=…"
        if why != self.trouble:
            with about(watch=self._watch.name):
                log.warning("no file events, so it is polled: %s", why)
        self.trouble = why

    def _enters(self, name: str) -> bool:
        return self._watch.enters(to_text(name))

    def _note(self, path: str, is_directory: bool) -> None:
        with self._condition:
            if path == str(self._watch.path) or len(self._files) + len(self._directories) >= MOST_HINTS:
                self._doubt = True
                self._files.clear()
                self._directories.clear()
            if not self._doubt:
                relative = to_text(os.path.relpath(path, self._watch.path))
                if is_directory:
                    self._directories.add(relative)
                else:
                    self._files[relative] = self._monotonic()
            self._condition.notify_all()


def _is_there(root: Path, listener: Listener) -> bool:
    try:
        return identity(root) == listener.identity
    except OSError:
        return False


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
