"""The shapes of docs/completeness.md, as a service meets them."""

import random
import re
from datetime import UTC, datetime, timedelta

import pytest

from carbonation_core.reports.explain import explain
from tests import databases
from tests.docs.pages import DOCS
from tests.site import Site, SiteMaker

pytestmark = databases.one
BLOCKS = re.findall(r"```toml\n(.*?)```", (DOCS / "completeness.md").read_text(encoding="utf-8"), re.DOTALL)


def rules(name: str) -> str:
    """The rule set of that name, as the page has it."""
    return next(block for block in BLOCKS if block.startswith(f"[{name}]"))


def stands(site: Site, key: str) -> str:
    return explain(site.project, key).groups[0].stands


CHANNELS = ["IR_016", "IR_039", "IR_087", "IR_097", "IR_108", "IR_120", "IR_134", "VIS006", "VIS008"]
CHANNELS += ["WV_062", "WV_073"]


def of_slot(satellite: str) -> list[str]:
    names = [f"{satellite}_{one}_202611271200_{segment}.nat" for one in CHANNELS for segment in range(1, 9)]
    names += [f"{satellite}_HRV_202611271200_{segment}.nat" for segment in range(1, 25)]
    return [*names, *(f"{satellite}_{part}_202611271200.nat" for part in ("PRO", "EPI"))]


@pytest.mark.long
def test_a_slot_that_comes_in_any_order_is_archived_without_three_segments(make: SiteMaker) -> None:
    site = make(rules=rules("slots"), archive={"destination": '"archive/{satellite}/{start:%Y%m%d}"'})
    names = [*of_slot("MSG3"), *of_slot("MSG4")]
    late = [f"MSG4_HRV_202611271200_{segment}.nat" for segment in (3, 7, 22)]
    first = [name for name in names if name not in late]
    random.Random(7).shuffle(first)
    for part in (first[:60], first[60:]):
        site.deliver(*part)
        site.one_pass()
    assert site.feed() == [("MSG3/202611271200", "completed")]
    assert "with 21 of 24 segments of channel HRV; lacks 3, 7, 22 until" in stands(site, "MSG4/202611271200")
    site.tick_clock(20 * 60)
    site.one_pass()
    assert site.feed()[1:] == [("MSG4/202611271200", "completed")]
    assert "without 21 of 24 segments" not in stands(site, "MSG3/202611271200")
    assert "21 of 24 segments of channel HRV; lacks 3, 7, 22" in stands(site, "MSG4/202611271200")
    assert all(path.startswith(("MSG3/20261127/", "MSG4/20261127/")) for path in site.archived())
    site.deliver(*late)
    site.one_pass()
    assert site.feed()[2:] == [("MSG4/202611271200", "updated")]
    assert len(site.archived()) == len(names)
    assert "lacks" not in stands(site, "MSG4/202611271200")


def test_what_is_only_wanted_is_done_without_after_its_time(make: SiteMaker) -> None:
    site = make(
        rules="""
        [slots.completeness]
        group_by = "pattern"
        patterns = "{satellite}_{channel}_{start:%Y%m%d%H%M}_{segment:d}.nat"
        key = ["satellite", "start"]
        required = [{ channel = "IR_108", segment = "1-2" }]
        wanted = [{ channel = "WV_073", segment = "1-8" }]
        """
    )
    wanted = [f"MSG4_WV_073_202611271200_{segment}.nat" for segment in (1, 2)]
    site.deliver(*(f"MSG4_IR_108_202611271200_{segment}.nat" for segment in (1, 2)))
    site.one_pass()
    assert site.feed() == []
    assert "with none of 8 segments of channel WV_073 until" in stands(site, "MSG4/202611271200")
    site.tick_clock(10 * 60)
    site.one_pass()
    assert site.feed() == [("MSG4/202611271200", "completed")]
    assert site.group("MSG4/202611271200").lacks == "none of 8 segments of channel WV_073"
    site.deliver(wanted[0])
    site.one_pass()
    assert site.feed()[1:] == [("MSG4/202611271200", "updated")]
    assert site.group("MSG4/202611271200").lacks == "1 of 8 segments of channel WV_073; lacks 2-8"


def test_a_day_on_which_summer_time_begins(make: SiteMaker) -> None:
    site = make(rules=rules("days"))
    day = datetime(2026, 3, 29, tzinfo=UTC)
    times = [day + timedelta(minutes=15 * number) for number in range(96)]
    names = [f"A_{at:%Y%m%d%H%M}.csv" for at in times if at.hour != 2]
    missed = ["A_202603290415.csv", "A_202603291500.csv"]
    site.deliver(*(name for name in names if name not in missed))
    site.one_pass()
    assert "with 90 of 92 times; lacks 04:15, 15:00 until" in stands(site, "A/202603290000")
    site.tick_clock(25 * 3600)
    site.one_pass()
    assert site.feed() == [("A/202603290000", "completed")]
    site.deliver(missed[0])
    site.one_pass()
    assert site.feed()[1:] == [("A/202603290000", "updated")]
    assert site.group("A/202603290000").lacks == "91 of 92 times; lacks 15:00"


@pytest.mark.parametrize(
    "order", [["manifest.txt", "a.jp2", "g/b.jp2"], ["g/b.jp2", "a.jp2", "manifest.txt"]]
)
def test_a_product_is_whole_when_all_is_there_that_its_manifest_lists(
    make: SiteMaker, order: list[str]
) -> None:
    site = make(rules=rules("products"), watch={"recursive": "true"})
    for number, name in enumerate(order):
        content = b"./a.jp2\ng/b.jp2\n" if name == "manifest.txt" else b"bytes"
        site.deliver(f"S2A.SAFE/{name}", content=content)
        site.one_pass()
        assert bool(site.feed()) is (number == 2)
        if number == 1:
            first = order[0] == "manifest.txt"
            lacks = (
                "with 1 of 2 files of manifest.txt; lacks S2A.SAFE/g/b.jp2" if first else "for manifest.txt"
            )
            assert f"waits {lacks} until" in stands(site, "S2A")
    assert site.feed() == [("S2A", "completed")]
    assert len(site.archived()) == 3


@pytest.mark.parametrize("description", ["a.json", "a.txt"])
def test_a_picture_waits_for_either_description(make: SiteMaker, description: str) -> None:
    site = make(rules=rules("pictures"))
    site.deliver("a.fits")
    site.one_pass()
    assert "waits for .json or .txt until" in stands(site, "a")
    site.deliver(description)
    site.one_pass()
    assert set(site.archived()) == {"a.fits", description}
