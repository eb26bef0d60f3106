"""What a report says of a watch, and how it is drawn."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from carbonation_core.reports import drawing
from carbonation_core.reports.activity import Fate, activity, percentile
from carbonation_core.reports.arrivals import Kept, Strip
from carbonation_core.reports.page import page
from tests import databases
from tests.site import Site, SiteMaker

pytestmark = databases.one  # drawings and numbers
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@databases.each
def test_a_report_says_what_came_and_what_became_of_it(make: SiteMaker) -> None:
    site = make()
    site.deliver("a.dat", "a.json", "b.dat")
    site.deliver("c.dat", content=b"")
    site.settle()
    site.tick_clock(7200)
    site.run_all()
    found = activity(site.project, "incoming")
    (slot,) = [slot for slot in found.slots if any(slot.files.values())]
    assert slot.begins_at == NOON
    assert slot.files == {Fate.ARCHIVED: 2, Fate.WAITING: 1, Fate.FAILED: 1, Fate.LEFT: 0}
    assert (found.files, found.bytes, found.archived) == (4, 15, 2)
    assert (found.p50, found.p95) == (7203.0, 7203.0)
    assert [slot.p50 for slot in found.slots if slot.p50 is not None] == [7203.0]
    assert [(reason.startswith("has 0 bytes"), number) for reason, number in found.reasons] == [(True, 1)]
    assert (found.waiting, found.failed) == (1, 1)


def test_what_came_before_is_left_out_but_still_stands(site: Site) -> None:
    site.deliver("b.dat")
    site.settle()
    site.tick_clock(3 * 86_400)
    found = activity(site.project, "incoming")
    assert (found.files, found.p50, found.waiting) == (0, None, 1)
    assert activity(site.project, "incoming", NOON - timedelta(hours=1)).files == 1


@pytest.mark.parametrize(
    ("days", "step", "slots"), [(1, 1 / 24, 25), (7, 0.25, 29), (29, 1, 30), (365, 7, 54), (36_000, 600, 61)]
)
def test_a_report_has_as_many_slots_as_can_be_read(site: Site, days: int, step: float, slots: int) -> None:
    found = activity(site.project, "incoming", NOON - timedelta(days=days))
    assert (found.step, len(found.slots)) == (timedelta(days=step), slots)
    assert found.since <= NOON - timedelta(days=days)


def test_percentiles_are_values_that_were_there() -> None:
    assert percentile([], 50) is None
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 95) == 95.0


def strip(label: str = "daily") -> Strip:
    days = [(date(2026, 1, day), one) for day, one in enumerate([Kept.LATE, None, Kept.INCOMPLETE], 1)]
    return Strip(label, tuple(days), {Kept.LATE: 1, Kept.INCOMPLETE: 2, Kept.IN_TIME: 1234})


def test_a_strip_is_told_in_numbers_and_drawn_in_the_colours_of_its_days() -> None:
    assert drawing.counts(strip()) == "1,234 in time, 1 late, 2 incomplete"
    for drawn in (drawing.strip(strip()), drawing.small_strips([strip(), strip("<hourly>")])):
        ET.fromstring(drawn)  # our own
        assert {drawing.MARKS[Kept.LATE], drawing.NOTHING} <= set(re.findall(r'fill="(#\w+)"', drawn))


def test_a_page_needs_nothing_from_elsewhere_and_obeys_no_name(site: Site) -> None:
    site.deliver("a.dat", "a.json")
    site.one_pass()
    found = activity(site.project, "incoming")
    odd = replace(
        found, watch_name="<script>", reasons=(("<b>\x1b & " * 50, 3),), other_reasons=1, strips=(strip(),)
    )
    written = page("Deliveries & more", [found, odd], NOON)
    assert re.findall(r"(?:src|href|url)\s*[=(]", written) == []
    assert ("<script>" in written, "\x1b" in written) == (False, False)
    for drawn in re.findall(r"<svg.*?</svg>", written, re.DOTALL):
        ET.fromstring(drawn)  # our own
    ET.fromstring(drawing.picture(odd))  # our own


@pytest.mark.parametrize(("most", "end"), [(0, 0), (1, 2), (3, 4), (5, 10), (10, 20), (11, 20), (250, 400)])
def test_a_scale_ends_at_a_round_number(most: int, end: int) -> None:
    assert drawing.nice(most) == end
