"""A file whose row the database refuses costs only itself."""

import os

import pytest

from carbonation_core.disk.stamp import Stamp
from carbonation_core.reports.status import status
from tests.site import SINGLE, Site, SiteMaker, touch

NOT_STORABLE = 13  # bytes of a file that is said to have more than any column holds


@pytest.fixture
def single(make: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A watch of single files, on a file system that says of some files what no column holds."""
    honest = Stamp.of

    def of(found: os.stat_result) -> Stamp:
        stamp = honest(found)
        return stamp._replace(size=2**63) if stamp.size == NOT_STORABLE else stamp

    monkeypatch.setattr(Stamp, "of", of)
    return make(SINGLE)


def warnings(site: Site) -> str:
    return "; ".join(status(site.project).warnings)


def test_the_others_of_its_look_are_archived_and_it_says_why_it_is_not(
    single: Site, caplog: pytest.LogCaptureFixture
) -> None:
    single.deliver("a", "c", content=b"good")
    single.deliver("b", content=b"x" * NOT_STORABLE)

    single.one_pass()

    assert single.statuses() == {"a": "archived", "b": "integrity_failed", "c": "archived"}
    said = single.component("b").error_message
    assert said.startswith("cannot be recorded: ")
    assert f"{single.incoming}/b {said}" in caplog.text
    assert f"watch incoming: 1 file cannot be recorded, {single.incoming}/b: " in warnings(single)


def test_it_is_tried_again_at_each_look_and_told_of_once(
    single: Site, caplog: pytest.LogCaptureFixture
) -> None:
    single.deliver("b", content=b"x" * NOT_STORABLE)
    for _ in range(3):
        found = single.tick(3)
        assert (found.new, found.changed, found.unsettled) == (0, 0, 0)
    assert caplog.text.count("cannot be recorded") == 1
    assert len(single.history("b")) == 2

    touch(single.incoming / "b", b"good")
    single.one_pass()
    assert single.statuses() == {"b": "archived"}
    assert "cannot be recorded" not in warnings(single)


def test_what_was_archived_stays_so_when_what_is_delivered_again_cannot_be_recorded(single: Site) -> None:
    single.deliver("a", "b", content=b"good")
    single.one_pass()

    touch(single.incoming / "a", b"better")
    touch(single.incoming / "b", b"x" * NOT_STORABLE)
    single.one_pass()

    assert single.statuses() == {"a": "archived", "b": "archived"}
    assert single.archived() == {"a": b"better", "b": b"good"}
    assert "1 file cannot be recorded" in warnings(single)


def test_the_sums_are_those_of_the_rows(single: Site) -> None:
    single.deliver("a", "c", content=b"good")
    single.deliver("b", content=b"x" * NOT_STORABLE)
    single.one_pass()
    found = status(single.project).components
    assert {one: number["all"] for one, number in found.items() if number["all"]} == {
        "archived": 2,
        "integrity_failed": 1,
    }
