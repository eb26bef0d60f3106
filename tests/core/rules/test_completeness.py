"""Groups by patterns over paths, and sets of members over their fields."""

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carbonation_core.lifecycle import FileStatus
from carbonation_core.rules.decide import group_key
from carbonation_core.rules.path_patterns import path_pattern
from carbonation_core.rules.readiness import Member, Readiness, readiness, shortfall
from carbonation_core.rules.rule_sets import RuleSet
from tests.core._helpers.faulty import of, require_fault_of_rules

DAY = datetime(2026, 11, 27, tzinfo=UTC).replace(tzinfo=None)  # as names have it
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SLOTS = """
    group_by = "pattern"
    patterns = "{satellite}_{channel}_{start:%Y%m%d%H%M}_{segment:d}.nat"
    key = ["satellite", "start"]
"""


def completeness(text: str) -> RuleSet:
    return RuleSet.model_validate({"completeness": tomllib.loads(text)})


def slot(more: str = "") -> RuleSet:
    return completeness(SLOTS + more)


def member(path: str, status: FileStatus = FileStatus.WAITING) -> Member:
    return Member(path, status, in_delivery=True, in_archive=status is FileStatus.ARCHIVED)


def segments(channel: str, numbers: Any) -> list[Member]:
    return [member(f"MSG4_{channel}_202611271200_{number}.nat") for number in numbers]


def stands(members: list[Member], rules: RuleSet, timed_out: bool = False) -> Readiness:
    return readiness(members, rules, False, timed_out, opened_at=NOW)


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("{a}_{b}.dat", "x_y_z.dat", {"a": "x", "b": "y_z"}),
        ("{a:2}{b:3d}.dat", "xy007.dat", {"a": "xy", "b": 7}),
        ("{a:_<6s}.dat", "IR____.dat", {"a": "IR"}),
        ("{a:_<6d}.dat", "12____.dat", {"a": 12}),
        ("{a}_{a}.dat", "x_x.dat", {"a": "x"}),
        ("{a}_{a}.dat", "x_y.dat", None),
        ("{a:%Y%j}.dat", "2026032.dat", {"a": DAY.replace(month=2, day=1)}),
        ("{a:%Y%m%d}.dat", "20261301.dat", None),
        ("{a:%Y}/{a:%m}/f_{a:%Y%m%d}.dat", "2026/11/f_20261127.dat", {"a": DAY}),
        ("{a:%Y}/{a:%m}/f_{a:%Y%m%d}.dat", "2026/10/f_20261127.dat", None),
        ("{a}.SAFE/**", "S2A.SAFE/x/y.jp2", {"a": "S2A"}),
        ("{a}/*.jp2", "S2A/x/y.jp2", None),
        ("{a}.d(t", "x.d(t", {"a": "x"}),
        ("(?P<a>[A-Z]+)(?P<n>[0-9]+)?", "AB12", {"a": "AB", "n": 12}),
        ("(?P<a>[A-Z]+)(?P<n>[0-9]+)?", "AB", {"a": "AB"}),
    ],
)
def test_a_path_is_taken_apart(pattern: str, path: str, fields: dict[str, Any] | None) -> None:
    assert path_pattern(pattern, {"n": "d"}).fields_of(path) == fields


def test_a_name_that_is_a_trap_fits_nothing() -> None:
    trap = path_pattern(r"(?P<a>(x+x+)+y)", {})
    assert trap.fields_of("x" * 200) is None


def test_files_with_equal_fields_of_the_key_are_one_group() -> None:
    assert group_key("MSG4_IR_108_202611271200_1.nat", slot()) == "MSG4/202611271200"
    assert group_key("MSG4_HRV_202611271200_24.nat", slot()) == "MSG4/202611271200"
    assert group_key("MSG3_HRV_202611271200_24.nat", slot()) == "MSG3/202611271200"
    assert group_key("notes.txt", slot()) is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("notes.txt", 'nothing fits "_" of'),
        ("MSG4_HRV_2026_1.nat", 'nothing fits "{start:%Y%m%d%H%M}" of'),
        ("MSG4_HRV_202611271200_x.nat", 'nothing fits "{segment:d}" of'),
        ("MSG4_HRV_202611271200_1.nat.gz", "does not fit all of it"),
        ("MSG4_HRV_202613271200_1.nat", '"202613271200" is no value of "start" in'),
    ],
)
def test_a_path_that_does_not_fit_says_where(path: str, why: str) -> None:
    assert slot().completeness is not None
    assert why in slot().waits.misfit(path)


def test_keys_of_different_fields_are_never_equal() -> None:
    rules = completeness('group_by = "pattern"\npatterns = "(?P<a>.+)=(?P<b>.+)"\nkey = ["a", "b"]\n')
    assert group_key("x/y=z", rules) != group_key("x=y/z", rules)


@pytest.mark.parametrize(
    ("at", "begin"),
    [("1200", "1200"), ("1214", "1215"), ("1212", "1200"), ("2359", "0000"), ("1158", "1200")],
)
def test_a_slot_takes_what_comes_a_little_too_early(at: str, begin: str) -> None:
    key = group_key(f"MSG4_HRV_20261127{at}_1.nat", slot('slot = "15m"\ntolerance = "2m"\n'))
    assert key is not None
    assert key.endswith(begin)


def test_what_is_lacking_is_said_in_ranges() -> None:
    rules = slot('required = [{ channel = "IR_108", segment = "1-24" }]')
    there = segments("IR_108", {*range(1, 25)} - {3, 7, 8, 9, 22})
    assert shortfall(there, rules).tallies == ("19 of 24 segments of channel IR_108; lacks 3, 7-9, 22",)


def test_channels_that_lack_the_same_are_one_sentence() -> None:
    rules = slot('required = [{ channel = ["A", "B", "C"], segment = "1-8" }]')
    there = [*segments("A", range(1, 8)), *segments("B", range(1, 8))]
    assert shortfall(there, rules).tallies == (
        "7 of 8 segments of channels A, B each; lacks 8",
        "none of 8 segments of channel C",
    )


def test_a_set_may_hold_for_some_groups_alone() -> None:
    rules = slot('required = [{ satellite = "MSG3", channel = "HRV", segment = "1-24" }]')
    assert stands(segments("IR_108", [1]), rules).ready


def test_what_is_wanted_is_waited_for_a_while_once_all_else_is_there() -> None:
    rules = slot(
        'required = [{ channel = "A", segment = 1 }]\nwanted = [{ channel = "B", segment = "1-2" }]\n'
        "wanted_minutes = 5\n"
    )
    assert not stands(segments("B", [1]), rules).ready
    waits = stands(segments("A", [1]), rules)
    assert (waits.ready, waits.not_before) == (True, NOW + timedelta(minutes=5))
    assert waits.lacks.waits == "with none of 2 segments of channel B"
    whole = stands([*segments("A", [1]), *segments("B", [1, 2])], rules)
    assert (whole.ready, whole.not_before) == (True, None)


def test_what_comes_late_to_an_archived_group_waits_for_nothing_that_is_only_wanted() -> None:
    rules = slot(
        'required = [{ channel = "A", segment = 1 }]\nwanted = [{ channel = "B", segment = "1-2" }]\n'
    )
    there = [member("MSG4_A_202611271200_1.nat", FileStatus.ARCHIVED), *segments("B", [1])]
    assert stands(there, rules).not_before is None


def test_a_count_leaves_out_what_is_optional() -> None:
    rules = slot('count = 3\noptional = [{ channel = "Q", segment = 1 }]')
    assert shortfall([*segments("A", [1, 2]), *segments("Q", [1])], rules).tallies == ("2 of 3 files",)
    assert stands(segments("A", [1, 2, 3]), rules).ready


def test_a_name_may_say_how_many_there_are() -> None:
    rules = completeness(
        'group_by = "pattern"\npatterns = "{run}_{part:d}of{parts:d}.dat"\n'
        'key = ["run"]\ncount_field = "parts"\n'
    )
    assert shortfall([member("a_1of3.dat")], rules).tallies == ("1 of 3 files",)
    assert stands([member(f"a_{part}of3.dat") for part in (1, 2, 3)], rules).ready


def test_one_of_the_alternatives_will_do() -> None:
    rules = completeness('expected_extensions = [".fits", [".json", ".txt"]]')
    assert shortfall([member("a.fits")], rules).names == (".json or .txt",)
    assert shortfall([member("a.fits"), member("a.txt")], rules).names == ()
    assert group_key("a.txt", rules) == "a"


@pytest.mark.parametrize(("day", "times"), [("0328", 96), ("0329", 92), ("1025", 96)])
def test_a_day_has_the_times_that_its_clocks_show(day: str, times: int) -> None:
    rules = completeness("""
        group_by = "pattern"
        patterns = "{station}_{time:%Y%m%d%H%M}.csv"
        key = ["station", "time"]
        slot = "1d"
        timezone = "Europe/Berlin"
        required = [{ time = "every 15m" }]
    """)
    assert shortfall([member(f"A_2026{day}0000.csv")], rules).tallies[0].startswith(f"1 of {times} times")


def fault(key: str) -> str:
    return f"R: [default.completeness]: {key}"


FAULTS = [
    (
        "types of a pattern",
        'types = { segment = "d" }',
        '"types" is for regular expressions; in a pattern it is as in "{segment:d}"',
    ),
    ("no key", "key = []", 'group_by = "pattern" needs a "key", of the fields "run", "segment", "start"'),
    (
        "an unknown field in the key",
        'key = ["rnu"]',
        '"key" has "rnu", and no pattern has such a field; did you mean "run"?',
    ),
    (
        "an unknown field in a set",
        "required = [{ segmnt = 1 }]",
        '"required" number 1: the patterns have no field "segmnt"; did you mean "segment"?',
    ),
    (
        "a range that runs backwards",
        'required = [{ segment = "8-1" }]',
        '"required" number 1: "8-1" ends before it begins; it should be "1-8"',
    ),
    (
        "words for a number",
        'required = [{ segment = "all" }]',
        '"required" number 1: field "segment" is a whole number, so it should be as in 3, "1-24", '
        "\"1-3, 7-9\", not 'all'",
    ),
    (
        "a range of text",
        'patterns = "{run}_{start:%Y}_{segment}"\nrequired = [{ segment = "1-8" }]',
        '"required" number 1: "1-8" is a range, and field "segment" is text; write "{segment:d}" '
        "in the pattern",
    ),
    (
        "a set of the key alone",
        'required = [{ run = "a" }]',
        '"required" number 1: says for which groups it holds ("run"), and not which members these '
        "should have",
    ),
    (
        "too large a set",
        'required = [{ segment = "1-100000", start = "every 1m" }]',
        '"required" number 1: "every" goes through a slot, so "slot" should be given, and "start" '
        'be in "key"',
    ),
    (
        "a slot without a time",
        'slot = "15m"',
        '"slot" needs one time in "key", by which it is found; there: none',
    ),
    (
        "a slot without a date",
        'key = ["run", "start"]\nslot = "15m"',
        '"slot" needs the date, and "start" has the format "%Y"',
    ),
    ("a tolerance without a slot", 'tolerance = "15m"', '"tolerance" needs a "slot" beside it'),
    (
        "a count that is no number",
        'count_field = "run"',
        '"count_field" is "run", and it is text, not a whole number',
    ),
    ("time to wait for nothing", "wanted_minutes = 3", '"wanted_minutes" needs "wanted" beside it'),
    (
        "an unknown directive",
        'patterns = "{run}_{start:%Q}"',
        'field "start" has "%Q" in its format; known: %Y, %y, %m, %d, %j, %b, %H, %M, %S, %f',
    ),
    (
        "an unknown format",
        'patterns = "{run:x}"',
        'field "run" has the format "x"; it should be nothing or "s" for text, "d" for a whole '
        'number, each with a width such as "3d", or a time such as "%Y%m%d%H%M"',
    ),
    (
        "a pattern without the key",
        'patterns = ["{run}_{segment:d}.a", "{segment:d}.b"]',
        '"key" has "run", which "{segment:d}.b" has not',
    ),
    (
        "a field of two types",
        'patterns = ["{run}_{segment:d}.a", "{run}_{segment}.b"]',
        'field "segment" is text in "{run}_{segment}.b", and a whole number before',
    ),
    ("sets without patterns", 'group_by = "stem"', '"patterns" needs group_by = "pattern" beside it'),
]


@of((name, text, fault(said)) for name, text, said in FAULTS)
def test_a_wrong_completeness_gets_one_sentence(tmp_path: Path, text: str, fault: str) -> None:
    lines = {"group_by": '"pattern"', "patterns": '"{run}_{start:%Y}_{segment:d}.dat"', "key": '["run"]'}
    lines |= dict(line.split(" = ", 1) for line in text.splitlines())
    rules = "\n".join(["[default.completeness]", *(f"{key} = {value}" for key, value in lines.items())])
    require_fault_of_rules(tmp_path, rules, fault)
