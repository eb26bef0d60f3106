"""What can be asked for, and how values are read, without a database."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import JSON, Boolean, Column, Date, DateTime, Double, Integer, Numeric, Text

from carbonation_core.db.column_types import UtcDateTime
from carbonation_core.db.filters import (
    MOST_VALUES,
    Between,
    Condition,
    Exactly,
    Like,
    conditions,
    filters_of,
    parse_time,
    spelled,
)
from carbonation_core.errors import QueryError

COLUMNS: list[Column[object]] = [
    Column("name", Text),
    Column("size", Integer),
    Column("quality", Double),
    Column("start", UtcDateTime),
    Column("stop", DateTime),
    Column("day", Date),
    Column("good", Boolean),
    Column("extra", JSON),
    Column("created_at", UtcDateTime),
]
KNOWN = filters_of(COLUMNS, {"created_at": "created"})
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def ask(**filters: object) -> list[Condition]:
    return list(conditions(KNOWN, filters))


def alternatives(**filters: object) -> tuple[object, ...]:
    (condition,) = ask(**filters)
    return condition.alternatives


def test_every_kind_of_column_has_its_filters() -> None:
    names = {name for name, one in KNOWN.items() if name == one.name}
    assert names == {
        *("name", "good"),
        *("size", "size_min", "size_max", "quality", "quality_min", "quality_max"),
        *("start", "start_after", "start_before", "stop", "stop_after", "stop_before"),
        *("day", "day_after", "day_before"),
        *("created_at", "created_at_after", "created_at_before"),
        *("_daterange", "_age"),
    }


def test_a_short_name_means_the_same() -> None:
    assert KNOWN["created_after"] is KNOWN["created_at_after"]
    assert ask(created_after=NOON) == ask(created_at_after=NOON)


def test_a_column_takes_its_name_from_short_and_derived_ones() -> None:
    columns: list[Column[object]] = [
        Column("created_at", DateTime),
        Column("created", Text),
        Column("size", Integer),
        Column("size_min", Text),
    ]
    known = filters_of(columns, {"created_at": "created"})
    assert known["created"].column == "created"
    assert "created_after" not in known
    assert known["size_min"].column == "size_min"


@pytest.mark.parametrize("lacking", ["start", "stop"])
def test_a_range_needs_both_columns(lacking: str) -> None:
    known = filters_of([column for column in COLUMNS if column.name != lacking], {})
    assert not {"_daterange", "_age"} & known.keys()


def test_an_unknown_filter_names_the_nearest_and_the_known_ones() -> None:
    with pytest.raises(QueryError, match=r'no filter "naem"; did you mean "name"\? known: .*"size_max"'):
        ask(naem="x")


def test_an_operator_that_the_column_does_not_have_is_unknown() -> None:
    with pytest.raises(QueryError, match='no filter "name_after"'):
        ask(name_after=NOON)
    with pytest.raises(QueryError, match='no filter "extra"'):
        ask(extra={})


def test_a_value_a_list_a_set_and_none() -> None:
    assert alternatives(name="a") == (Exactly("a"),)
    assert alternatives(name=["a", "b"]) == (Exactly("a"), Exactly("b"))
    assert alternatives(name={"a"}) == (Exactly("a"),)
    assert alternatives(name=None) == (Exactly(None),)
    assert alternatives(name=["a", None]) == (Exactly("a"), Exactly(None))


def test_an_empty_list_holds_for_nothing() -> None:
    assert alternatives(name=[]) == ()


def test_a_percent_sign_makes_a_pattern() -> None:
    assert alternatives(name=["a%", "b"]) == (Like("a%"), Exactly("b"))


def test_a_path_is_text_and_what_is_not_utf_8_is_spelled_as_in_the_database() -> None:
    assert alternatives(name=Path("/a/b")) == (Exactly("/a/b"),)


def test_a_name_as_the_system_gives_it_is_exact_and_spelled_as_in_the_database() -> None:
    assert alternatives(name=b"a\xff%") == (Exactly("a\\xff%"),)
    assert alternatives(name=[Path("50%"), b"back\\slash"]) == (Exactly("50%"), Exactly("back\\x5cslash"))
    assert alternatives(name="a\\xff") == (Exactly("a\\xff"),)
    assert alternatives(name="a\udcff\\") == (Exactly("a\\xff\\x5c"),)
    assert spelled("plain\\") == "plain\\"


def test_ranges_include_their_ends() -> None:
    assert alternatives(size_min=3) == (Between(3, None),)
    assert alternatives(size_max=3) == (Between(None, 3),)
    assert alternatives(start_after=NOON) == (Between(NOON, None),)


def test_a_naive_time_means_utc_and_an_aware_one_is_made_so() -> None:
    assert alternatives(start=NOON.replace(tzinfo=None)) == (Exactly(NOON),)
    there = NOON.astimezone(timezone(timedelta(hours=5)))
    assert alternatives(start=there) == (Exactly(NOON),)
    assert alternatives(start="2026-01-05T14:00+02:00") == (Exactly(NOON),)
    assert alternatives(start="2026-01-05T12:00Z") == (Exactly(NOON),)


def test_a_date_is_the_whole_day() -> None:
    begin = datetime(2026, 1, 5, tzinfo=UTC)
    end = datetime(2026, 1, 5, 23, 59, 59, 999_999, tzinfo=UTC)
    for day in (date(2026, 1, 5), "2026-01-05"):
        assert alternatives(start=day) == (Between(begin, end),)
        assert alternatives(start_after=day) == (Between(begin, None),)
        assert alternatives(start_before=day) == (Between(None, end),)
    assert alternatives(start_before=date.max) == (Between(None, datetime.max.replace(tzinfo=UTC)),)


def test_a_column_of_days_takes_times_for_their_days() -> None:
    assert alternatives(day=NOON) == alternatives(day="2026-01-05") == (Exactly(date(2026, 1, 5)),)


def test_a_range_overlaps_what_begins_before_its_end_and_ends_after_its_beginning() -> None:
    known = filters_of([Column("start", DateTime), Column("stop", DateTime)], {})
    later = NOON + timedelta(hours=1)
    assert conditions(known, {"_daterange": (NOON, later)}) == (
        Condition(("stop", "start"), (Between(NOON, None),)),
        Condition(("start", "stop"), (Between(None, later),)),
    )
    assert conditions(known, {"_daterange": (NOON, None)}) == conditions(known, {"_age": NOON})
    assert len(conditions(known, {"_daterange": [None, later]})) == 1


@pytest.mark.parametrize(
    "value", [NOON, "2026-01-05", (None, None), (NOON,), (NOON, NOON, NOON), ("2026-01-02", "2026-01-01")]
)
def test_a_range_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(QueryError, match="_daterange"):
        ask(_daterange=value)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("name", 3, "text, not int 3"),
        ("name", 1, "text"),
        ("size", "3", 'a number, not str "3"'),
        ("size", True, "a number, not bool"),
        ("quality_min", float("nan"), "a number"),
        ("quality_max", float("inf"), "a number"),
        ("size_min", None, "a number, not NoneType"),
        ("size_min", [1, 2], "a number, not list"),
        ("start_after", "yesterday", 'a time or date, not str "yesterday"'),
        ("start", 0, "a time or date"),
        ("start", "0001-01-01T00:00+14:00", "a time or date"),
        ("day", "2026-13-01", "a date"),
        ("good", 1, "True or False, not int"),
        ("good", "yes", "True or False"),
        ("name", {"a": 1}, "text, not dict"),
        ("_age", timedelta(days=1), "a time or date"),
    ],
)
def test_a_value_of_the_wrong_kind_names_filter_wanted_and_value(
    name: str, value: object, wanted: str
) -> None:
    with pytest.raises(QueryError, match=f'filter "{name}" takes {wanted}'):
        ask(**{name: value})


def test_numbers_beyond_any_column_are_compared_all_the_same() -> None:
    assert alternatives(size_max=10**30) == (Between(None, 1e30),)
    assert alternatives(quality=Decimal("0.5")) == (Exactly(0.5),)


def test_a_list_that_no_statement_takes_is_refused() -> None:
    with pytest.raises(QueryError, match=f"at most {MOST_VALUES} values"):
        ask(size=range(MOST_VALUES + 1))


def test_a_time_as_text() -> None:
    assert parse_time("2026-01-05") == date(2026, 1, 5)
    assert parse_time(" 2026-01-05T12:00 ") == NOON
    with pytest.raises(ValueError, match="should be a date or time"):
        parse_time("")


def test_decimals_are_numbers() -> None:
    assert set(filters_of([Column("x", Numeric)], {})) == {"x", "x_min", "x_max"}
