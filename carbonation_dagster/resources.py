"""What ops, sensors and checks get to work with: the project, opened once per process."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from carbonation_core.pipeline import BatchReport
from carbonation_core.project import Project

RESOURCE = "carbonation"
STOP_VARIABLE = "CARBONATION_STOP_FILE"  # set by `carbonation run` for its processes


def _to_nobody(report: BatchReport) -> None:
    pass


class Carbonation:
    """The project behind a code location, and the wish to stop.

    `open_it` is called when the project is first needed, as importing the
    definitions must not touch the database. `told` hears of every batch that was
    brought to its end here.
    """

    def __init__(
        self, open_it: Callable[[], Project], told: Callable[[BatchReport], None] = _to_nobody
    ) -> None:
        self.told = told
        self._open_it = open_it
        self._project: Project | None = None
        self._lock = threading.Lock()

    @property
    def project(self) -> Project:
        """The project; raises `ConfigError` or `DatabaseError` while it cannot be opened."""
        with self._lock:
            if self._project is None:
                self._project = self._open_it()
            return self._project

    def stopping(self) -> bool:
        """Whether the service was told to end: begin nothing new, give back what is left."""
        mark = os.environ.get(STOP_VARIABLE)
        return mark is not None and Path(mark).exists()
