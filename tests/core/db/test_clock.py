"""Hosts whose clocks differ work by one time."""

from datetime import UTC, datetime, timedelta

import pytest

from carbonation_core.db.clock import PAUSE, SharedClock, clock_of
from carbonation_core.db.engine import database_now, reading
from carbonation_core.errors import DatabaseError
from tests import databases
from tests.site import Site

HERE = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clocks:
    """A clock that is `ahead` of ours by seconds, and is out of reach while that is None."""

    def __init__(self, ahead: float | None) -> None:
        self.ahead, self.asked, self.passed = ahead, 0, 0.0

    def there(self) -> datetime:
        self.asked += 1
        if self.ahead is None:
            raise DatabaseError("it is gone")
        return self.here() + timedelta(seconds=self.ahead)

    def here(self) -> datetime:
        return HERE + timedelta(seconds=self.passed)

    def shared(self) -> SharedClock:
        return SharedClock(self.there, self.here, lambda: self.passed)


def test_the_time_is_that_of_the_database_and_a_large_difference_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks = Clocks(-300)
    clock = clocks.shared()
    assert clock() == clock() == HERE - timedelta(minutes=5)
    assert clocks.asked == 1
    assert "is 300.0 s ahead of that of the database" in caplog.text
    clocks.passed += PAUSE
    assert clock() == HERE + timedelta(seconds=PAUSE - 300)
    assert clocks.asked == 2
    assert len(caplog.records) == 1


def test_a_clock_that_is_put_right_is_followed_within_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clocks = Clocks(1.5)
    clock = clocks.shared()
    assert clock() == HERE + timedelta(seconds=1.5)
    clocks.ahead, clocks.passed = 0, PAUSE
    assert clock() == clocks.here()
    assert caplog.records == []


def test_the_time_that_an_answer_takes_moves_nothing() -> None:
    clocks = Clocks(0.1)
    assert clocks.shared()() == HERE


def test_a_database_that_does_not_answer_stops_no_clock() -> None:
    clocks = Clocks(10)
    clock = clocks.shared()
    clock()
    clocks.ahead, clocks.passed = None, PAUSE
    assert clock() == clocks.here() + timedelta(seconds=10)
    assert clock() == clocks.here() + timedelta(seconds=10)
    assert clocks.asked == 2


@databases.each
def test_what_is_asked_is_the_database(site: Site) -> None:
    with reading(site.project.engine) as connection:
        off_by = clock_of(site.project.engine)() - database_now(connection)
    assert abs(off_by) < timedelta(seconds=1)
