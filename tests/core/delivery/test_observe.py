"""Looks that go only where hints point see what a look at everything would have seen there."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from carbonation_core.config.values import LONGEST_NAME
from carbonation_core.delivery.observe import Observation, observe
from carbonation_core.disk.scan import Hints
from carbonation_core.errors import ScanError
from carbonation_core.pipeline.claim import claim
from carbonation_core.reports.status import feed_health, status
from tests import databases
from tests.site import PAIRS, SINGLE, Site, SiteMaker, touch

pytestmark = databases.one  # where a look goes


@pytest.fixture
def deep(make: SiteMaker) -> Site:
    """A recursive watch of single files that was looked at once."""
    site = make(SINGLE, watch={"recursive": "true"})
    site.tick()
    return site


def look(site: Site, *files: str, directories: tuple[str, ...] = (), seconds: float = 0) -> Observation:
    site.tick_clock(seconds)
    return observe(site.project, "incoming", Hints(frozenset(files), frozenset(directories)))


def found_by(site: Site) -> tuple[int, int]:
    """Deliveries that an event told of, and that only a look found."""
    found = feed_health(site.project, "incoming")
    return found.found_by_event, found.found_by_scan


@databases.each
def test_only_what_was_hinted_at_is_looked_at(deep: Site) -> None:
    deep.deliver("a", "b")
    assert look(deep, "a").new == 1
    assert deep.statuses() == {"a": "detected"}


def test_what_has_not_settled_is_looked_at_without_a_hint(deep: Site) -> None:
    deep.deliver("a")
    look(deep, "a")
    assert look(deep, seconds=3).ready == 1


def test_a_change_that_nobody_hinted_at_is_seen_while_the_file_settles(deep: Site) -> None:
    deep.deliver("a")
    look(deep, "a")
    touch(deep.incoming / "a", b"other bytes")
    assert look(deep, seconds=3).changed == 1


def test_a_file_that_left_is_told_by_its_hint(deep: Site) -> None:
    deep.deliver("a")
    deep.settle()
    (deep.incoming / "a").unlink()
    assert look(deep).gone == 0
    assert look(deep, "a").gone == 1
    assert deep.statuses() == {"a": "cleared"}


def test_a_directory_that_moved_in_or_out_is_looked_at_whole(deep: Site, tmp_path: Path) -> None:
    deep.deliver("x/y/a", "x/b", "xy")
    assert look(deep, directories=("x",)).new == 2
    (deep.incoming / "x").rename(tmp_path / "x")
    assert look(deep, directories=("x",)).gone == 2
    assert deep.statuses() == {"x/y/a": "cleared", "x/b": "cleared"}


def test_hints_below_a_watch_that_is_not_recursive_are_not_followed(make: SiteMaker) -> None:
    site = make(SINGLE)
    site.tick()
    site.deliver("x/a")
    assert look(site, "x/a", directories=("x",)).new == 0


def test_a_hint_does_not_make_the_files_of_a_vanished_root_look_gone(deep: Site) -> None:
    deep.deliver("a")
    deep.settle()
    shutil.rmtree(deep.incoming)
    with pytest.raises(ScanError, match="cannot be looked at"):
        look(deep, "a")
    assert deep.statuses() == {"a": "waiting"}


def test_other_rules_lead_to_a_look_at_everything(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.tick()
    site.deliver("a.dat", "a.json")
    site.set_rules(PAIRS + "# changed\n")
    assert look(site).new == 2


def test_archived_files_whose_mount_was_away_are_not_taken_for_redelivered(deep: Site) -> None:
    deep.deliver("a")
    deep.one_pass()
    deep.incoming.rename(deep.directory / "away")
    deep.incoming.mkdir()
    deep.tick()
    assert not deep.component("a").in_delivery
    shutil.rmtree(deep.incoming)
    (deep.directory / "away").rename(deep.incoming)
    deep.one_pass()
    component = deep.component("a")
    assert (component.status, component.in_delivery) == ("archived", True)
    assert len(deep.history("a")) == 3


@databases.each
def test_files_are_counted_from_look_to_look(deep: Site) -> None:
    deep.deliver("a", "b")
    assert look(deep, "a", "b").files == 2
    (deep.incoming / "a").unlink()
    assert look(deep, "a").files == 1
    assert deep.tick().files == 1


@databases.each
def test_deliveries_are_counted_by_what_told_of_them_first(deep: Site) -> None:
    deep.deliver("told", "new/inside", "untold")
    hints = Hints(frozenset({"told"}), frozenset({"new"}), by_events=True)
    observe(deep.project, "incoming", hints)
    assert found_by(deep) == (2, 0)
    observe(deep.project, "incoming", replace(hints, everything=True))
    assert found_by(deep) == (2, 1)
    deep.one_pass()  # looks at what is known already
    touch(deep.incoming / "told", b"other bytes")
    touch(deep.incoming / "untold", b"other bytes")
    observe(deep.project, "incoming", hints)
    touch(deep.incoming / "told", b"more bytes while it settles")
    observe(deep.project, "incoming", hints)
    deep.tick()
    assert found_by(deep) == (3, 2)


def test_a_pass_does_not_forget_why_there_are_no_events(deep: Site) -> None:
    observe(deep.project, "incoming", Hints(everything=True, by_events=False, trouble="no watches"))
    deep.tick()
    assert feed_health(deep.project, "incoming").trouble == "no watches"
    assert "watch incoming: no file events, so it is polled: no watches" in status(deep.project).warnings
    observe(deep.project, "incoming", Hints(by_events=True))
    found = feed_health(deep.project, "incoming")
    assert (found.listens, found.trouble) == (True, None)


def test_a_look_says_when_time_alone_changes_something(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.deliver("a.dat")
    assert site.settle().due_in == timedelta(minutes=120)


@databases.each
def test_idle_looks_write_nothing(deep: Site) -> None:
    deep.deliver("a")
    deep.one_pass()
    deep.tick()
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    event.listen(deep.project.engine, "before_cursor_execute", note)
    deep.tick(1)
    look(deep)
    assert statements
    assert all(statement.startswith(("BEGIN", "SELECT")) for statement in statements)


@databases.each
def test_a_watch_with_the_longest_name_there_may_be_is_looked_at(make: SiteMaker) -> None:
    name = "w" * LONGEST_NAME
    site = make(SINGLE, watch={"name": f'"{name}"'})
    site.deliver("a.bin")
    for seconds in (0, 3):
        site.tick_clock(seconds)
        observe(site.project, name)
    assert [offer.watch_name for offer in claim(site.project, name, "here")] == [name]
