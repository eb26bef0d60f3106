"""The service's heartbeat, which a database that does not answer must not hold up."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence

from carbonation_core.errors import DatabaseError
from carbonation_core.project import Project
from carbonation_core.reports import heartbeat
from carbonation_core.reports.heartbeat import PartReport

log = logging.getLogger(__name__)

AGAIN = 5.0  # seconds from a word that failed to the next: others take who is silent for lost
LAST_WORD = 1.5  # seconds that a word may take when the end has come


class Heart:
    """Says in the database that the service and its parts live. Each word is said by a thread of its own."""

    def __init__(self, project: Project, ui: str | None, uses_queue: bool = False) -> None:
        self._project, self._more = project, {"ui": ui, "uses_queue": uses_queue}
        self._interval = project.config.service.heartbeat_interval.total_seconds()
        self._due = 0.0
        self._written = float("-inf")
        self._trouble = ""  # why the last word failed, told once
        self._reported: list[tuple[str, bool, str | None]] = []
        self._thread: threading.Thread | None = None

    @property
    def moves(self) -> bool:
        """Whether the database took one of the last beats."""
        return time.monotonic() - self._written < 3 * self._interval

    def follow(self, project: Project) -> None:
        """Speak for that one from now on, as its configuration has it."""
        self._project = project
        self._interval = project.config.service.heartbeat_interval.total_seconds()

    def begin(self, reports: Sequence[PartReport]) -> None:
        """Say that the service begins."""
        self._write(lambda: heartbeat.begin(self._project, heartbeat.SERVICE, self._more, reports))

    def beat_when_due(self, now: Sequence[PartReport]) -> None:
        """Say that it still lives and how its parts do, each `heartbeat_interval` and when that changes."""
        standing = [(part.name, part.is_well, part.trouble) for part in now]
        is_due = time.monotonic() >= self._due or standing != self._reported
        if is_due and not (self._thread and self._thread.is_alive()):
            self._reported = standing
            self._write(lambda: heartbeat.beat(self._project, heartbeat.SERVICE, self._more, now))

    def end(self, error: str | None = None) -> None:
        """Say that it has ended, and what made it end."""
        if self._thread is None:
            return  # it never began
        self._thread.join(LAST_WORD)
        self._write(lambda: heartbeat.end(self._project, heartbeat.SERVICE, [error] if error else []))
        self._thread.join(LAST_WORD)
        with contextlib.suppress(Exception):
            self._project.engine.dispose()

    def _write(self, word: Callable[[], None]) -> None:
        def speak() -> None:
            try:
                word()
            except Exception as error:  # it must not end for that
                self._due = time.monotonic() + min(AGAIN, self._interval)
                if str(error) != self._trouble:
                    known = isinstance(error, DatabaseError)
                    log.error("the service could not say that it lives: %s", error, exc_info=not known)
                self._trouble = str(error)
            else:
                self._written, self._trouble = time.monotonic(), ""

        self._due = time.monotonic() + self._interval
        self._thread = threading.Thread(target=speak, name="heart", daemon=True)
        self._thread.start()
