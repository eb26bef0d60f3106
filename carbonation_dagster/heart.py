"""The service's heartbeat, which a database that does not answer must not hold up."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from carbonation_core import pulse
from carbonation_core.project import Project

log = logging.getLogger(__name__)

LAST_WORD = 3.0  # seconds that saying the end may take


class Heart:
    """Says in the database that the service lives. Each word is said by a thread of its own."""

    def __init__(self, project: Project, ui: str | None) -> None:
        self._project, self._ui = project, ui
        self._interval = project.config.service.heartbeat_interval.total_seconds()
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Say that the service begins."""
        self._say(lambda: pulse.begin(self._project, pulse.SERVICE, self._ui))

    def beat_when_due(self) -> None:
        """Say that it still lives, each `heartbeat_interval`."""
        if time.monotonic() >= self._due and not (self._thread and self._thread.is_alive()):
            self._say(lambda: pulse.beat(self._project, pulse.SERVICE, self._ui))

    def end(self, error: str | None = None) -> None:
        """Say that it has ended, and what made it end."""
        if self._thread is None:
            return  # it never began
        self._thread.join(LAST_WORD)
        self._say(lambda: pulse.end(self._project, pulse.SERVICE, [error] if error else []))
        self._thread.join(LAST_WORD)
        with contextlib.suppress(Exception):
            self._project.engine.dispose()

    def _say(self, word: Callable[[], None]) -> None:
        def speak() -> None:
            try:
                word()
            except Exception:  # whoever works says what is wrong with the database
                log.exception("the service could not say that it lives")

        self._due = time.monotonic() + self._interval
        self._thread = threading.Thread(target=speak, name="heart", daemon=True)
        self._thread.start()
