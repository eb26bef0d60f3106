"""What ops, sensors and checks get to work with: the project, opened once per process."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from carbonation_core.config.loading import ACCEPTED_VARIABLE
from carbonation_core.config.sections import Watch
from carbonation_core.disk.scan import EVERYTHING, Hints
from carbonation_core.disk.watcher import Watchers
from carbonation_core.errors import NoAnswer
from carbonation_core.pipeline.batch_report import BatchReport
from carbonation_core.pipeline.claim import is_made_otherwise
from carbonation_core.pipeline.in_force import is_superseded
from carbonation_core.project import Project
from carbonation_dagster.defs.naming import Names
from carbonation_dagster.environment import PROCESS_ENDS, STOP_FILE, TICK_WAIT

RESOURCE = "carbonation"
SHORTEST_PAUSE = 0.1  # seconds between two looks of one tick
LOOK_PATIENCE = 5.0  # seconds that a look waits for the one before
STOP_LATENCY = 0.5  # seconds until a waiting tick sees that the service is to end


def _to_nobody(report: BatchReport) -> None:
    pass


class Carbonation:
    """The project behind a code location, and the wish to stop.

    `open_it` is called when the project is first needed, as importing the
    definitions must not touch the database. `told` hears of every batch that was
    brought to its end here. Without `watchers` every look is at everything.
    `names` are those of the definitions that it stands behind. `interrupted` says
    whether this process alone was told to end. `file` is the config.toml that
    `open_it` reads.
    """

    def __init__(
        self,
        open_it: Callable[[], Project],
        told: Callable[[BatchReport], None] = _to_nobody,
        watchers: Watchers | None = None,
        names: Names = Names(),  # noqa: B008  # frozen
        interrupted: Callable[[], bool] = PROCESS_ENDS.is_set,
        file: Path | None = None,
    ) -> None:
        self.told = told
        self.names = names
        self.lost: set[tuple[str, str]] = set()  # of a run, by id, the batches that are others' now
        self.tick_wait = float(os.environ.get(TICK_WAIT, "0"))
        self._watchers = watchers
        self._interrupted = interrupted
        self._open_it = open_it
        self._file = file
        self._written: int | None = None
        self._project: Project | None = None
        self._lock = threading.Lock()
        self._looking: dict[str, threading.Lock] = {}  # by watch

    @property
    def project(self) -> Project:
        """The project; raises `ConfigError` or `DatabaseError` while it cannot be opened."""
        with self._lock:
            return self._project or self._opened()

    def project_of_tick(self) -> Project:
        """The project, read again if config.toml was written since.

        Else each run, which reads it anew, would give back what the tick made with the
        old one. In the service it is SIGHUP that says when.
        """
        with self._lock:
            is_ours = ACCEPTED_VARIABLE in os.environ
            if self._project is None or (not is_ours and self._written != self._last_written()):
                return self._opened()
            return self._project

    def project_to_claim(self, watch_name: str) -> Project:
        """The project, read again if the service of its site has accepted another configuration since."""
        if is_superseded(self.project, watch_name):
            with self._lock:
                return self._opened()
        return self.project

    def project_for(self, batch_id: str) -> Project:
        """The project, read again if the batch was made with another configuration, or one is in force.

        A long-lived process may have read it before it was changed. Code that it has
        loaded stays as it is.
        """
        if is_made_otherwise(self.project, batch_id):
            with self._lock:
                return self._opened()
        return self.project

    def _opened(self) -> Project:
        written, opened = self._last_written(), self._open_it()
        before, self._project, self._written = self._project, opened, written
        if before is not None and before.engine is not opened.engine:
            before.engine.dispose()
        return opened

    def _last_written(self) -> int | None:
        try:
            return None if self._file is None else self._file.stat().st_mtime_ns
        except OSError:
            return None  # whoever opens it says why

    @contextmanager
    def hints(self, watch: Watch) -> Iterator[Hints]:
        """Where to look now, for one look at a time.

        Raises `NoAnswer` when the look before has not come back. Each look that hangs
        keeps a thread of this process, which has few of them for all watches.
        """
        looking = self._looking.setdefault(watch.name, threading.Lock())
        if not looking.acquire(timeout=LOOK_PATIENCE):
            raise NoAnswer(f"{watch.path}: a look at it does not come back; is its disk there?")
        try:
            if self._watchers is None:
                yield EVERYTHING
                return
            with self._watchers.of(watch).hints() as hints:
                yield hints
        finally:
            looking.release()

    def wait(self, watch: Watch, seconds: float) -> None:
        """Wait so long, or until something happens in the watch or the service is to end."""
        if self._watchers is None:
            return
        end = time.monotonic() + seconds
        # The events of one write come together; a look for each would cost more than it tells.
        time.sleep(min(seconds, SHORTEST_PAUSE))
        while not self.stopping():
            left = end - time.monotonic()
            if left <= 0 or self._watchers.of(watch).wait(min(left, STOP_LATENCY)):
                return

    def stopping(self) -> bool:
        """Whether service or process were told to end: begin nothing new, give back what is left."""
        mark = os.environ.get(STOP_FILE)
        return self._interrupted() or (mark is not None and Path(mark).exists())
