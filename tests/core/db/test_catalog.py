"""Questions to a real database."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import DateTime, Double, Text, insert
from sqlalchemy.orm import Mapped, mapped_column

from carbonation_core import FileBase, Plugin, QueryError
from carbonation_core.db import catalog, counts, feed, queries, tallies
from carbonation_core.db.engine import reading, writing
from carbonation_core.db.models import FeedEntry
from carbonation_core.lifecycle import FileStatus
from tests.site import Site, SiteMaker

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class Deed(FileBase):
    """A column of each kind, one of them called as the feed calls one."""

    __tablename__ = "files"

    name: Mapped[str | None] = mapped_column(Text)
    quality: Mapped[float | None] = mapped_column(Double)
    start: Mapped[datetime | None]
    stop: Mapped[datetime | None]
    local: Mapped[datetime | None] = mapped_column(DateTime)
    day: Mapped[date | None]
    good: Mapped[bool | None]
    sequence: Mapped[int | None]


@pytest.fixture
def site(make: SiteMaker) -> Site:
    return make(plugin=Plugin(Deed))


@pytest.fixture
def ask(site: Site) -> Any:
    def asked(columns: Sequence[str] = ("group_key",), /, **options: Any) -> list[Any]:
        query = catalog.file_query(Deed, columns=columns, **options)
        with reading(site.project.engine) as connection:
            rows = list(queries.stream(connection, query))
            if query.limit is None:
                assert queries.count(connection, query) == len(rows)
        return [row[columns[0]] for row in rows] if len(columns) == 1 else rows

    return asked


def fill(site: Site, *rows: dict[str, Any]) -> None:
    with writing(site.project.engine) as connection:
        for number, row in enumerate(rows, 1):
            row = {"watch_name": "incoming", "group_key": f"g{number}", "created_at": T0, **row}
            connection.execute(insert(Deed).values(modified_at=row["created_at"], **row))


def test_all_filters_must_hold(site: Site, ask: Any) -> None:
    fill(site, {"name": "a", "quality": 1.0}, {"name": "a", "quality": 2.0}, {"name": "b", "quality": 2.0})
    assert ask(filters={"name": "a", "quality_min": 2}) == ["g2"]
    assert ask(filters={"name": ["a", "b"], "quality_max": 2.0}) == ["g1", "g2", "g3"]
    assert ask(filters={}) == ["g1", "g2", "g3"]


def test_an_empty_list_matches_nothing(site: Site, ask: Any) -> None:
    fill(site, {"name": "a"}, {"name": None})
    assert ask(filters={"name": []}) == []
    assert ask(filters={"name": [None]}) == ["g2"]
    assert ask(filters={"name": ["a", None]}) == ["g1", "g2"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("run_1%", ["run_1", "run_12.dat"]),
        ("%1", ["run_1", "runx1", "RUN_1"]),
        ("run%1%", ["run_1", "run_12.dat", "runx1"]),
        ("%", ["run_1", "run_12.dat", "runx1", "RUN_1", "a\\x25!b.*", "two\nlines", "[ab]?*"]),
        ("%\\x25!b.%", ["a\\x25!b.*"]),
        ("two%lines", ["two\nlines"]),
        ("%two", []),
        ("RUN%", ["RUN_1"]),
        ("[ab]?%", ["[ab]?*"]),
        ("%*", ["a\\x25!b.*", "[ab]?*"]),
    ],
)
def test_only_the_percent_sign_is_special_and_case_counts(
    site: Site, ask: Any, pattern: str, found: list[str]
) -> None:
    names = ["run_1", "run_12.dat", "runx1", "RUN_1", "a\\x25!b.*", "two\nlines", "[ab]?*", None]
    fill(site, *({"name": name} for name in names))
    assert ask(("name",), filters={"name": pattern}) == found


def test_times_are_asked_for_and_given_in_utc_whatever_the_column(site: Site, ask: Any) -> None:
    noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
    fill(site, {"start": noon, "local": noon.replace(tzinfo=None), "day": noon.date()})
    for name in ("start", "local", "day"):
        for value in (noon, noon.replace(tzinfo=None), "2026-01-05", "2026-01-05T13:00+01:00"):
            assert ask(filters={name: value, f"{name}_after": value, f"{name}_before": value}) == ["g1"]
        assert ask(filters={f"{name}_after": noon + timedelta(days=1)}) == []
        assert ask(filters={f"{name}_before": noon - timedelta(days=1)}) == []
    assert ask(("start", "local"), filters={}) == [{"start": noon, "local": noon}]


def test_a_date_asks_for_the_whole_day(site: Site, ask: Any) -> None:
    last = datetime(2026, 1, 5, 23, 59, 59, 999_999, tzinfo=UTC)
    fill(site, {"start": last - timedelta(days=1)}, {"start": last}, {"start": last + timedelta.resolution})
    assert ask(filters={"start": date(2026, 1, 5)}) == ["g2"]
    assert ask(filters={"start_before": date(2026, 1, 5)}) == ["g1", "g2"]
    assert ask(filters={"start_after": "2026-01-06"}) == ["g3"]


@pytest.mark.parametrize(
    ("begin", "end", "found"),
    [
        ("2026-01-01", "2026-01-02", ["g1", "g2"]),
        ("2026-01-03", "2026-01-03", ["g1"]),
        ("2026-01-04", None, ["g3"]),
        (None, "2026-01-01", ["g1"]),
        (None, "2025-12-31", []),
    ],
)
def test_a_range_finds_what_overlaps_it(
    site: Site, ask: Any, begin: str | None, end: str | None, found: list[str]
) -> None:
    day = timedelta(days=1)
    fill(
        site,
        {"start": T0, "stop": T0 + 2 * day},
        {"start": T0 + day, "stop": None},
        {"start": None, "stop": T0 + 5 * day},
        {"start": None, "stop": None},
    )
    assert ask(filters={"_daterange": (begin, end)}) == found
    if begin and not end:
        assert ask(filters={"_age": begin}) == found


def test_false_is_not_the_absence_of_a_value(site: Site, ask: Any) -> None:
    fill(site, {"good": True}, {"good": False}, {"good": None})
    assert ask(filters={"good": False}) == ["g2"]
    assert ask(filters={"good": True}) == ["g1"]
    assert ask(filters={"complete": False}) == ["g1", "g2", "g3"]


def test_order_is_by_columns_then_id_with_what_has_no_value_last(site: Site, ask: Any) -> None:
    fill(site, {"quality": None}, {"quality": 2.0}, {"quality": 1.0}, {"quality": 2.0})
    assert ask(order_by="quality") == ["g3", "g2", "g4", "g1"]
    assert ask(order_by="-quality") == ["g2", "g4", "g3", "g1"]
    assert ask(order_by=["-quality", "-group_key"]) == ["g4", "g2", "g3", "g1"]
    assert ask(order_by="-quality", limit=1) == ["g2"]
    for order_by in ("quality", "-quality", ["-quality", "-group_key"]):
        assert ask(order_by=order_by, limit=3) == ask(order_by=order_by)[:3]
    assert ask(limit=0) == []


def test_columns_default_to_the_public_ones_and_the_plugins(site: Site) -> None:
    fill(site, {})
    with reading(site.project.engine) as connection:
        (row,) = queries.stream(connection, catalog.file_query(Deed))
    assert set(catalog.PUBLIC) < set(row)
    assert {"name", "quality", "good"} < set(row)
    assert not {"group_key_sha256", "batch_id", "due_at", "deadline_at", "attempts"} & set(row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["nope"]}, 'columns: there is no column "nope"; known: .*"quality"'),
        ({"columns": "name"}, "should be a list of names"),
        ({"columns": []}, "at least one"),
        ({"order_by": "nope"}, 'order_by: there is no column "nope"; known: .*"quality"'),
        ({"order_by": "metadata"}, "order_by"),
        ({"order_by": "--name"}, "order_by"),
        ({"limit": -1}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": "3"}, "limit"),
        ({"filters": {"nope": 1}}, "no filter"),
        ({"filters": {"group_key_sha256": "x"}}, "no filter"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(options: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        catalog.file_query(Deed, **options)


def test_a_long_list_is_asked_in_one_go(site: Site, ask: Any) -> None:
    fill(site, {})
    assert ask(filters={"id": list(range(30_000))}) == ["g1"]


def test_rows_are_fetched_in_portions(site: Site) -> None:
    fill(site, *({"name": "x"} for _ in range(3)))
    with reading(site.project.engine) as connection:
        rows = queries.stream(connection, catalog.file_query(Deed, columns=["id"]))
        assert next(rows) == {"id": 1}
        rows.close()  # type: ignore[attr-defined]  # a generator


def test_the_feeds_own_keys_win_over_columns_of_that_name(site: Site) -> None:
    fill(site, {"sequence": 77})
    with writing(site.project.engine) as connection:
        entry = {"sequence": 5, "group_id": 1, "watch_name": "incoming", "event": "completed", "at": T0}
        connection.execute(insert(FeedEntry).values(entry))
        (row,) = feed.entries(connection, Deed, 0, 5, None, 10, events=False)
    assert (row["sequence"], row["event"]) == (5, "completed")


def test_counts_by_status_are_of_the_time_a_component_came_to_it(site: Site) -> None:
    site.deliver("run1.dat", "run1.json", "run2.dat")
    site.one_pass()
    site.now += timedelta(hours=2)
    site.deliver("run3.dat")
    site.settle()
    hour, day = timedelta(hours=1), timedelta(days=1)
    with reading(site.project.engine) as connection:
        found = counts.reached_since(connection, site.now, (hour, day))
        assert counts.by_status(tallies.read(connection))[FileStatus.WAITING] == 2
        oldest = counts.oldest_open_group(connection, ["incoming"])
    assert found[FileStatus.WAITING] == (1, 2)
    assert oldest is not None
    assert (oldest.group_key, oldest.components) == ("run2", {"waiting": 1})
