"""What is expected at known times: what comes for it, what is late, what the feed tells."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carbonation_core.api import Database
from carbonation_core.config.loading import load_config
from carbonation_core.errors import ConfigError, QueryError
from carbonation_core.reports.arrivals import Kept, board, excuse, needing_notice, news, strips
from tests import databases
from tests.site import PAIRS, Site, SiteMaker, open_site

STATION = """
    [[watch.expect]]
    cron = "*/15 * * * *"
    timezone = "Europe/Berlin"
    within = "5m"
    group_key = "st_{start_utc:%Y%m%d%H%M}.dat"
"""
MINUTES = """
    [[watch.expect]]
    every = "1m"
    within = "5m"
    group_key = "st_{start:%Y%m%d%H%M}.dat"
"""
HOURLY = """
    [[watch.expect]]
    every = "1h"
    within = "5m"
    group_key = "f_{start:%d%H%M}"
"""
DAILY = """
    [[watch.expect]]
    cron = "0 6 * * *"
    within = "2h"
"""


def expecting(make: SiteMaker, expect: str, rules: str = "[single]", now: datetime | None = None) -> Site:
    site = make(rules)
    text = (site.directory / "config.toml").read_text()
    lines = "\n".join(line.strip() for line in expect.splitlines())
    (site.directory / "config.toml").write_text(text.replace("[[archive]]", f"{lines}\n[[archive]]"))
    site = _reopened(site)
    site.now = now or datetime(2026, 1, 1, 12, tzinfo=UTC)
    return site


def _reopened(site: Site) -> Site:
    site.project.engine.dispose()
    return open_site(site.directory, site.project.plugin)


def states(site: Site) -> dict[str, str]:
    """State by the hour and minute that it is expected at."""
    found = board(site.project, since=datetime(2025, 1, 1, tzinfo=UTC), until=site.now)
    return {f"{one.expected_at:%d %H:%M}": str(one.state) for one in found if one.expected_at}


def events(site: Site) -> list[tuple[str, str | None]]:
    rows, _ = Database(site.project).get_new_files(events=True)
    return [(row["event"], row["group_key"]) for row in rows]


def come(site: Site, *names: str) -> None:
    site.deliver(*names)
    site.settle()


@pytest.mark.long
def test_a_station_day_over_the_change_to_summer_time_with_two_missed_and_one_late(make: SiteMaker) -> None:
    midnight = datetime(2025, 3, 29, 23, tzinfo=UTC)  # 2025-03-30 00:00 in Berlin
    site = expecting(make, STATION, now=midnight - timedelta(minutes=1))
    site.tick()
    lost, late = {midnight + timedelta(hours=1), midnight + timedelta(hours=5)}, midnight + timedelta(hours=9)
    at = midnight
    while at < midnight + timedelta(hours=23):  # an hour less than others
        site.now = at + timedelta(minutes=8 if at == late else 1)
        if at == late:
            site.tick()
        if at not in lost:
            come(site, f"st_{at:%Y%m%d%H%M}.dat")
        else:
            site.tick()
        at += timedelta(minutes=15)
    site.now = at - timedelta(seconds=1)
    site.tick()
    found = [one for one in board(site.project, until=at, since=midnight) if one.expected_at]
    assert len(found) == 92
    assert [one.expected_at for one in found if one.state == "missed"] == sorted(lost)
    assert [one.expected_at for one in found if one.is_late and one.state == "arrived"] == [late]
    assert sum(one.state == "arrived" for one in found) == 90
    told = [event for event, _ in events(site)]
    assert (told.count("late"), told.count("missed"), told.count("arrived")) == (3, 2, 1)


def test_a_group_in_part_is_incomplete_and_has_arrived_when_it_is_whole(make: SiteMaker) -> None:
    site = expecting(make, STATION.replace(".dat", ""), PAIRS)
    site.tick()
    site.tick_clock(15 * 60)
    come(site, "st_202601011215.dat")
    assert states(site)["01 12:15"] == "expected"
    site.tick(6 * 60)
    assert states(site)["01 12:15"] == "incomplete"
    come(site, "st_202601011215.json")
    assert states(site)["01 12:15"] == "arrived"
    assert [one for one in events(site) if one[0] != "completed"] == [
        ("late", "st_202601011215"),
        ("arrived", "st_202601011215"),
    ]


def test_what_nothing_came_for_has_the_expected_key_alone(make: SiteMaker) -> None:
    site = expecting(make, STATION)
    site.tick()
    site.tick(40 * 60)
    rows, cursor = Database(site.project).get_new_files(events=True)
    assert [(row["event"], row["group_key"], row["id"]) for row in rows] == [
        ("missed", "st_202601011215.dat", None),
        ("late", "st_202601011230.dat", None),
    ]
    assert rows[0]["expected_at"] == datetime(2026, 1, 1, 12, 15, tzinfo=UTC)
    assert Database(site.project).get_new_files() == ([], cursor)


def test_programs_get_the_board_as_rows(make: SiteMaker) -> None:
    site = expecting(make, STATION)
    site.tick()
    site.tick_clock(15 * 60)
    come(site, "st_202601011215.dat")
    site.tick(45 * 60)
    arrived, missed, *_ = Database(site.project).arrivals(until=site.now)
    assert (arrived["state"], arrived["group_key"]) == ("arrived", "st_202601011215.dat")
    assert 0 <= arrived["delay"] <= 3
    assert (missed["state"], missed["delay"], missed["is_late"]) == ("missed", None, True)
    assert Database(site.project).arrivals(states=["missed"]) == [missed]


def test_what_is_missed_and_comes_after_all_has_arrived(make: SiteMaker) -> None:
    site = expecting(make, STATION)
    site.tick()
    site.tick(60 * 60)
    assert states(site)["01 12:15"] == "missed"
    come(site, "st_202601011215.dat")
    assert states(site)["01 12:15"] == "arrived"
    assert events(site)[-1] == ("arrived", "st_202601011215.dat")


def test_what_is_late_is_news_once_and_again_when_it_comes(make: SiteMaker) -> None:
    site = expecting(make, STATION)
    site.tick()
    nothing, begin = news(site.project, None)
    site.tick(40 * 60)
    first, end = news(site.project, begin)
    site.tick(15 * 60)  # what was late is missed
    come(site, "st_202601011230.dat")
    second, last = news(site.project, end)
    told = [(str(one.event), one.group_key) for one in (*nothing, *first, *second)]
    assert told == [
        ("missed", "st_202601011215.dat"),
        ("late", "st_202601011230.dat"),
        ("late", "st_202601011245.dat"),
        ("arrived", "st_202601011230.dat"),
    ]
    assert news(site.project, last + 1000) == ([], last)


def test_gaps_are_filled_after_a_stop(make: SiteMaker) -> None:
    site = expecting(make, STATION)
    site.tick()
    site.tick(5 * 86_400)
    found = board(site.project, until=site.now)
    assert len(found) == 5 * 96 - 1
    assert {str(one.state) for one in found} == {"missed", "late"}


def test_files_that_came_in_time_during_a_stop_are_not_late(make: SiteMaker) -> None:
    due = datetime.now(UTC).replace(second=0, microsecond=0)  # the file's own time is that of the system
    site = expecting(make, MINUTES, now=due - timedelta(minutes=2))
    site.tick()
    key = f"st_{due:%Y%m%d%H%M}.dat"
    site.deliver(key)
    site.now = due + timedelta(hours=2)
    site.tick()  # it has not settled, so nobody knows yet
    site.tick(3)
    assert states(site)[f"{due:%d %H:%M}"] == "arrived"
    assert key not in [key for _, key in events(site)]


def test_without_a_key_what_comes_near_the_time_is_meant(make: SiteMaker) -> None:
    site = expecting(make, DAILY, now=datetime(2026, 1, 1, tzinfo=UTC))
    site.tick()
    site.tick_clock(5 * 3600)
    come(site, "first.dat")
    site.tick_clock(2 * 3600)
    come(site, "second.dat")  # of the same day: nothing more is expected
    site.tick(20 * 3600)
    assert states(site) == {"01 06:00": "arrived"}
    unexpected = board(site.project, states=["unexpected"], since=datetime(2025, 1, 1, tzinfo=UTC))
    assert [one.group_key for one in unexpected] == ["second.dat"]


def test_each_day_is_the_worst_that_came_of_it(make: SiteMaker) -> None:
    site = expecting(make, HOURLY, PAIRS, now=datetime(2026, 1, 1, 21, 30, tzinfo=UTC))
    site.tick()
    site.tick_clock(30 * 60)
    come(site, "f_012200.dat", "f_012200.json")
    site.tick_clock(60 * 60 + 6 * 60)
    come(site, "f_012300.dat", "f_012300.json")
    site.tick_clock(2 * 3600)
    come(site, "f_020100.dat")
    site.tick(2 * 3600)
    (strip,) = strips(site.project, "incoming")
    assert strip.expectation == "every 1h"
    assert [kept for _, kept in strip.days] == [None] * 28 + [Kept.LATE, Kept.MISSED]
    del strip.counts[Kept.TO_COME]
    assert strip.counts == {Kept.IN_TIME: 1, Kept.LATE: 2, Kept.INCOMPLETE: 1, Kept.MISSED: 2}
    assert [one.group_key for one in needing_notice(site.project, "incoming")] == [
        "f_020000", "f_020100", "f_020200", "f_020300",
    ]  # fmt: skip


def test_an_excused_one_is_told_no_more(make: SiteMaker) -> None:
    site = expecting(make, STATION)
    site.tick()
    at = datetime(2026, 1, 1, 12, 15, tzinfo=UTC)
    assert excuse(site.project, "incoming", at, at, "the mast is down") == 1
    site.tick(60 * 60)
    assert states(site)["01 12:15"] == "excused"
    assert "st_202601011215.dat" not in [key for _, key in events(site)]


def test_other_times_replace_what_is_still_to_come(make: SiteMaker) -> None:
    site = expecting(make, STATION)
    site.tick()
    config = site.directory / "config.toml"
    config.write_text(config.read_text().replace("*/15 * * * *", "0 * * * *"))
    changed = _reopened(site)
    changed.now = site.now
    changed.tick(1)
    found = board(changed.project, until=changed.now + timedelta(hours=3))
    assert [f"{one.expected_at:%H:%M}" for one in found] == ["13:00", "14:00", "15:00"]


def test_a_tick_with_nothing_due_writes_nothing(make: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    site = expecting(make, STATION)
    site.tick()
    site.tick(1)

    def never(*_: Any) -> None:
        raise AssertionError("the board was kept though nothing was due")

    monkeypatch.setattr("carbonation_core.delivery.board.keep", never)
    site.tick(1)


@databases.one
def test_an_unknown_watch_or_state_is_named(make: SiteMaker) -> None:
    site = expecting(make, STATION)
    with pytest.raises(QueryError, match="known"):
        board(site.project, "other")
    with pytest.raises(QueryError, match="known"):
        board(site.project, states=["gone"])


@databases.one
@pytest.mark.parametrize(
    ("expect", "fault"),
    [
        ('cron = "61 * * * *"\nwithin = "5m"', "should be a cron expression"),
        ('within = "5m"', "needs either cron or every"),
        ('every = "10s"\nwithin = "5m"', "at least 1m"),
        ('every = "1h"\ntimezone = "Europe/Berln"\nwithin = "5m"', 'did you mean "Europe/Berlin"'),
        ('every = "1h"\nwithin = "5m"\ngroup_key = "fixed"', "should name the time"),
    ],
)
def test_a_wrong_expectation_is_named_at_load(tmp_path: Path, expect: str, fault: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[[watch]]\nname = "w"\npath = "w"\nrules = "r"\n[[watch.expect]]\n{expect}\n')
    with pytest.raises(ConfigError, match=fault):
        load_config(file)
