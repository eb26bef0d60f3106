"""When arrivals are expected, and which is which."""

from datetime import UTC, datetime, timedelta

import pytest

from carbonation_core.config.expectations import Expect
from carbonation_core.rules.arrivals import Window, is_at_risk, is_meant, key_at, nearest, slots, usual_delay

WITHIN = timedelta(minutes=5)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def of_day(day: datetime, cron: str) -> list[str]:
    expect = Expect(cron=cron, timezone="Europe/Berlin", within=WITHIN)
    last = day + timedelta(days=1, hours=2)
    times = (slot.at.astimezone(expect.zone) for slot in slots(expect, day - timedelta(hours=3), last))
    return [f"{time:%H:%M}" for time in times if time.date() == day.date()]


@pytest.mark.parametrize(("day", "number"), [("2026-03-29", 92), ("2026-06-01", 96), ("2026-10-25", 100)])
def test_a_quarterly_feed_has_as_many_arrivals_as_the_day_has_quarters(day: str, number: int) -> None:
    assert len(of_day(datetime.fromisoformat(day).replace(tzinfo=UTC), "*/15 * * * *")) == number


@pytest.mark.parametrize(("day", "hour"), [("2026-03-29", "03:00"), ("2026-10-25", "02:30")])
def test_a_daily_feed_has_one_arrival_whatever_clocks_do(day: str, hour: str) -> None:
    assert of_day(datetime.fromisoformat(day).replace(tzinfo=UTC), "30 2 * * *") == [hour]


def test_a_slot_opens_halfway_from_the_one_before_and_is_missed_when_the_next_one_is_late() -> None:
    second = list(slots(Expect(every=timedelta(minutes=10), within=WITHIN), at(-1), at(15)))[1]
    assert (second.at, second.opens_at, second.late_at, second.missed_at) == (at(10), at(5), at(15), at(25))


def test_a_key_is_filled_in_the_zone_of_the_expectation_or_in_utc() -> None:
    key = "{start:%H}_{start_utc:%H}"
    expect = Expect(cron="0 * * * *", timezone="Europe/Berlin", within=WITHIN, group_key=key)
    assert key_at(expect, NOON) == "13_12"


def test_a_key_of_another_time_is_meant_and_one_of_another_form_is_not() -> None:
    expect = Expect(cron="0 * * * *", within=WITHIN, group_key="a.{start:%Y%m%d}T{start:%H}")
    assert is_meant(expect, "a.20200101T07")
    assert not is_meant(expect, "ab20200101T07")
    assert not is_meant(expect, "a.2020010T07")


def window(minutes: float) -> Window:
    return Window(at(minutes), at(minutes - 5), at(minutes + 3))


@pytest.mark.parametrize(
    ("minutes", "found"),
    [(1, 1), (4, 1), (6, 2), (9, 2), (13, 2), (14, 2), (-6, None)],
    ids=["in time", "late", "early", "early", "in time", "late for the newest", "before all"],
)
def test_what_comes_is_in_time_for_one_or_late_for_the_newest(minutes: float, found: int | None) -> None:
    assert nearest(at(minutes), {1: window(0), 2: window(10)}) == found


def test_risk_is_learned_from_how_late_nearly_all_came() -> None:
    delays = [timedelta(minutes=minutes) for minutes in range(20)]
    assert usual_delay(delays[:19]) is None
    assert usual_delay(delays) == timedelta(minutes=18)
    assert not is_at_risk(NOON, timedelta(minutes=18), at(18))
    assert is_at_risk(NOON, timedelta(minutes=18), at(19))
    assert not is_at_risk(NOON, None, at(500))
