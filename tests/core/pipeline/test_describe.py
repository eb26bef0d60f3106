"""Archived groups are described anew: columns and feed follow, files stay where they are."""

import enum
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import DateTime, Enum, Float, Interval, Numeric, String, update
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from carbonation_core import FileBase, Plugin
from carbonation_core.db.engine import writing
from carbonation_core.errors import QueryError
from carbonation_core.pipeline import describe as module
from carbonation_core.pipeline.describe import Redescribed, Verdict, describe
from tests.site import File, Site, SiteMaker

RULES = """
    [pairs.completeness]
    expected_extensions = [".dat", ".json"]
    [pairs.metadata]
    extract = "own"
"""


class Colour(enum.Enum):
    RED = "r"


class Upper(TypeDecorator[str]):
    """Text that is kept in capitals."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return value and value.upper()


class Odd(FileBase):
    """Columns that give back another value than they were given, or one of another type."""

    __tablename__ = "files"

    start: Mapped[datetime | None]
    plain: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 3))
    share: Mapped[float | None] = mapped_column(Float())
    colour: Mapped[Colour | None] = mapped_column(
        Enum(Colour, values_callable=lambda kind: [one.value for one in kind])
    )
    late: Mapped[timedelta | None] = mapped_column(Interval())
    clock: Mapped[time | None]
    tags: Mapped[dict[str, Any] | None]
    code: Mapped[str | None] = mapped_column(Upper())


Extract = Callable[[list[Path]], dict[str, Any]]


def content(file_paths: list[Path]) -> dict[str, Any]:
    return {"category": file_paths[0].read_text()}


def with_size(file_paths: list[Path]) -> dict[str, Any]:
    return {"category": file_paths[0].read_text(), "size": len(file_paths)}


def knows(site: Site, extract: Extract) -> None:
    """From now on the plugin has another extractor."""
    site.project = replace(site.project, plugin=Plugin(File, {"own": extract}))


@pytest.fixture
def site(make: SiteMaker) -> Site:
    """Three groups that are archived, described by their content alone."""
    site = make(RULES, archive={"destination": '"archive/{category}"'}, plugin=Plugin(File, {"own": content}))
    for number in range(3):
        site.deliver(f"run{number}.dat", f"run{number}.json", content=b"red")
    site.one_pass()
    return site


def asked(site: Site, *rest: str | None, dry_run: bool = False) -> dict[str, Redescribed]:
    return {one.group_key: one for one in describe(site.project, *rest, dry_run=dry_run)}


def test_a_new_column_is_filled_and_the_feed_tells_of_it(site: Site) -> None:
    knows(site, with_size)
    told = len(site.feed())

    found = asked(site)

    assert {(one.verdict, one.columns, one.elsewhere) for one in found.values()} == {
        (Verdict.DESCRIBED, ("size",), None)
    }
    assert [site.group(f"run{number}").size for number in range(3)] == [2, 2, 2]
    assert site.group("run1").metadata == {"category": "red", "size": 2}
    assert sorted(site.feed()[told:]) == [(f"run{number}", "updated") for number in range(3)]


def test_what_is_as_it_was_is_told_to_nobody(site: Site) -> None:
    before = site.feed()
    assert {one.verdict for one in asked(site).values()} == {Verdict.UNCHANGED}
    assert site.feed() == before


def test_a_column_that_somebody_changed_is_what_the_plugin_says_again(site: Site) -> None:
    knows(site, with_size)
    asked(site)
    with writing(site.project.engine) as connection:
        connection.execute(update(File).where(File.group_key == "run1").values(size=7))
        connection.execute(update(File).where(File.group_key == "run2").values(start=site.now))
    told = len(site.feed())

    trial, found = asked(site, dry_run=True), asked(site)

    assert {one.columns for one in (trial["run1"], found["run1"])} == {("size",)}
    assert found["run0"].verdict is Verdict.UNCHANGED
    assert site.group("run1").size == 2
    # Of a column that the plugin says nothing of, it is somebody's own.
    assert (found["run2"].verdict, site.group("run2").start) == (Verdict.UNCHANGED, site.now)
    assert site.feed()[told:] == [("run1", "updated")]
    assert {one.verdict for one in asked(site).values()} == {Verdict.UNCHANGED}


def test_what_a_column_makes_of_a_value_is_no_change(make: SiteMaker) -> None:
    said = {
        "start": datetime(2024, 5, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        "plain": datetime(2024, 5, 1, 12, 0, 0, 500_000, tzinfo=UTC),
        "price": 1.0005,
        "share": 1 / 3,
        "colour": "r",
        "late": timedelta(seconds=-90),
        "clock": time(1, 2, 3),
        "tags": {"b": [1.5, None], "a": "ä"},
        "code": "abc",
    }
    plugin = Plugin(Odd, {"own": lambda file_paths: said})
    site = make(RULES, plugin=plugin)
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}

    found = list(describe(site.project))

    assert [(one.verdict, one.columns) for one in found] == [(Verdict.UNCHANGED, ())]


def test_a_trial_writes_nothing(site: Site) -> None:
    knows(site, with_size)
    before = site.feed()
    assert {one.verdict for one in asked(site, dry_run=True).values()} == {Verdict.DESCRIBED}
    assert (site.group("run1").size, site.feed()) == (None, before)


def test_archived_copies_are_read_where_delivery_has_something_else(site: Site) -> None:
    knows(site, with_size)
    (site.incoming / "run0.dat").unlink()
    (site.incoming / "run1.dat").write_bytes(b"blue and other")

    asked(site)

    assert [site.group(f"run{number}").category for number in range(3)] == ["red"] * 3


def test_a_killed_one_goes_on_with_the_groups_that_lack_the_column(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PORTION", 1)
    knows(site, with_size)
    first = next(describe(site.project, missing_column="size"))  # and no further

    assert asked(site, None, None, "size").keys() == {"run0", "run1", "run2"} - {first.group_key}
    assert asked(site, None, None, "size") == {}


def test_a_file_stays_where_it_is_and_the_other_route_is_said(site: Site) -> None:
    knows(site, lambda file_paths: {"category": "blue"})
    before = site.archived()

    found = asked(site, None, "run1")

    assert list(found) == ["run1"]
    assert found["run1"].elsewhere == f"main: {site.archive}/blue"
    assert site.archived() == before
    assert site.group("run1").archive_directory == f"{site.archive}/red"


def test_one_that_raises_keeps_what_is_stored(site: Site) -> None:
    def raises(file_paths: list[Path]) -> dict[str, Any]:
        if file_paths[0].name == "run1.dat":
            raise LookupError("no header")
        return with_size(file_paths)

    knows(site, raises)
    found = asked(site)
    assert (found["run1"].verdict, found["run2"].verdict) == (Verdict.FAILED, Verdict.DESCRIBED)
    assert "LookupError: no header" in found["run1"].reason
    assert (site.group("run1").category, site.group("run2").size) == ("red", 2)


def test_a_group_that_a_run_takes_meanwhile_is_left_to_it(site: Site) -> None:
    def delivered_again(file_paths: list[Path]) -> dict[str, Any]:
        if file_paths[0].name == "run1.dat":
            site.deliver("run1.dat", content=b"new bytes")
            site.settle()
            site.claim()
        return with_size(file_paths)

    knows(site, delivered_again)
    told = len(site.feed())

    assert asked(site, None, "run1")["run1"].verdict is Verdict.OVERTAKEN
    assert (site.group("run1").size, len(site.feed())) == (None, told)


def test_a_column_or_group_that_is_not_there_is_an_error(site: Site) -> None:
    with pytest.raises(QueryError, match='no column "sizes"; did you mean "size"'):
        asked(site, None, None, "sizes")
    with pytest.raises(QueryError, match='no group "run9"'):
        asked(site, None, "run9")
