"""The time that all who share a database agree upon."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from carbonation_core.db.engine import Engine, database_now, reading
from carbonation_core.errors import DatabaseError
from carbonation_core.process import host_name

log = logging.getLogger(__name__)

PAUSE = 60.0  # seconds between two comparisons with the database's clock
LEAST = timedelta(seconds=0.2)  # less than this is how long the answer took, and no other time
MOST = timedelta(seconds=2)  # by which a host's clock may differ unsaid


def utc_now() -> datetime:
    """The time of this host, aware and in UTC."""
    return datetime.now(UTC)


class SharedClock:
    """The time of this host, put right by what another clock says, once a minute.

    While the other one cannot be asked, by what it said last.
    """

    def __init__(
        self,
        ask: Callable[[], datetime],
        local: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._local, self._monotonic = ask, local, monotonic
        self._due = float("-inf")
        self._ahead = timedelta(0)  # by how much the other one is
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        """The time, aware and in UTC."""
        with self._lock:
            if self._monotonic() >= self._due:
                self._compare()
                self._due = self._monotonic() + PAUSE
        return self._local() + self._ahead

    @property
    def of_host(self) -> timedelta:
        """By how much this host's own time was ahead of the other clock's, when they were last compared."""
        return -self._ahead

    def _compare(self) -> None:
        before = self._local()
        try:
            there = self._ask()
        except DatabaseError:  # whoever needs the database says so
            return
        ahead = there - (before + (self._local() - before) / 2)
        if abs(ahead - self._ahead) < LEAST:
            return
        self._ahead = ahead
        if abs(ahead) > MOST:
            log.warning(
                "the clock of host %s is %.1f s %s that of the database, which is gone by; is its time kept?",
                host_name(),
                abs(ahead.total_seconds()),
                "behind" if ahead > timedelta(0) else "ahead of",
            )


def clock_of(engine: Engine) -> Callable[[], datetime]:
    """The clock of those who share that database; SQLite's is its one host's."""
    if engine.dialect.name == "sqlite":
        return utc_now

    def ask() -> datetime:
        with reading(engine) as connection:
            return database_now(connection)

    return SharedClock(ask)
