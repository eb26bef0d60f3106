"""Decisions, each in a few lines."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbonation_core import rules
from carbonation_core.config import ServiceSection, Watch
from carbonation_core.errors import AttemptFailed, Unroutable
from carbonation_core.lifecycle import FileStatus
from carbonation_core.rules import Member
from carbonation_core.ruleset import Completeness, RuleSet

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def completeness(**keys: Any) -> Completeness:
    return Completeness.model_validate({"group_by": "stem", **keys})


def watch(**keys: Any) -> Watch:
    return Watch.model_validate({"name": "w", "path": "/in", "rules": "r", **keys})


def rule_set(**keys: Any) -> RuleSet:
    return RuleSet.model_validate(keys)


PAIR = completeness(expected_extensions=[".dat", ".json"], optional_extensions=[".tar.gz"])


@pytest.mark.parametrize(
    ("name", "taken"),
    [("a.dat", True), ("a.DAT", False), ("a.tmp", False), (".a.dat", False), ("a.x", False)],
)
def test_ignored_patterns_win_and_case_counts(name: str, taken: bool) -> None:
    assert rules.wanted(name, watch(patterns=["*.dat", "*.tmp"])) is taken


def test_without_patterns_every_name_is_taken() -> None:
    assert rules.wanted("anything", watch())


def test_a_file_has_settled_when_it_was_unchanged_for_so_long() -> None:
    assert rules.settles_in(NOW - timedelta(seconds=2), NOW, 2) == timedelta(0)
    assert rules.settles_in(NOW - timedelta(seconds=1), NOW, 2) == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("run1.dat", "run1"),
        ("run1.tar.gz", "run1"),
        ("run1.x.y", "run1.x"),
        ("run1", "run1"),
        (".tar.gz", ".tar"),
        (".hidden", ".hidden"),
        ("site/run1.dat", "site/run1"),
    ],
)
def test_a_stem_is_the_name_less_its_longest_known_extension(path: str, key: str) -> None:
    assert rules.group_key(path, PAIR) == key


def test_across_directories_the_directory_is_left_out_of_the_key() -> None:
    assert rules.group_key("site/run1.dat", completeness(across_directories=True)) == "run1"


def test_without_completeness_the_key_is_the_path() -> None:
    assert rules.group_key("site/run1.dat", None) == "site/run1.dat"


def test_missing_names_the_extensions_that_nobody_has() -> None:
    assert rules.missing(["run1.json", "run1.txt"], PAIR) == (".dat",)
    assert rules.missing(["anything"], None) == ()


def member(filename: str, status: FileStatus = FileStatus.WAITING, in_archive: bool = False) -> Member:
    return Member(filename, status, in_delivery=True, in_archive=in_archive)


WHOLE = [member("a.dat"), member("a.json")]


def test_a_whole_group_is_ready() -> None:
    assert rules.readiness(WHOLE, PAIR, unsettled=False, timed_out=False).ready


def test_a_group_with_an_unsettled_file_is_not_ready() -> None:
    assert not rules.readiness(WHOLE, PAIR, unsettled=True, timed_out=False).ready
    files = [*WHOLE, member("a.tar.gz", FileStatus.DETECTED)]
    assert not rules.readiness(files, PAIR, unsettled=False, timed_out=False).ready


def test_an_archived_file_counts_and_a_missing_one_does_not() -> None:
    archived = member("a.dat", FileStatus.ARCHIVED, in_archive=True)
    missing = member("a.dat", FileStatus.MISSING)
    assert rules.readiness([archived, member("a.json")], PAIR, False, False).ready
    assert rules.readiness([missing, member("a.json")], PAIR, False, False).missing == (".dat",)


def test_a_group_whose_files_ask_for_nothing_is_idle() -> None:
    archived = member("a.dat", FileStatus.ARCHIVED, in_archive=True)
    assert rules.readiness([archived], PAIR, False, False).idle


@pytest.mark.parametrize(
    ("on_timeout", "ready"), [("warn", False), ("skip", False), ("archive_partial", True)]
)
def test_only_archive_partial_makes_a_late_group_ready(on_timeout: str, ready: bool) -> None:
    late = completeness(expected_extensions=[".dat", ".json"], on_timeout=on_timeout)
    assert rules.readiness([member("a.dat")], late, False, timed_out=True).ready is ready


def test_the_primary_file_comes_first() -> None:
    ordered = completeness(expected_extensions=[".dat", ".json"], primary_extension=".json")
    names = sorted(["a.txt", "a.dat", "a.json"], key=lambda name: rules.in_order(name, ordered))
    assert names == ["a.json", "a.dat", "a.txt"]


@pytest.mark.parametrize(
    ("selection", "metadata", "reason"),
    [
        ([{"has_keys": ["a"]}], {}, 'selection number 1: metadata lack "a"'),
        ([{"has_keys": ["a"]}], {"a": None}, 'selection number 1: metadata lack "a"'),
        ([{"lacks_keys": ["a"]}], {"a": 1}, 'selection number 1: metadata have "a"'),
        (
            [{"field": "a", "matches": ["^x"]}],
            {"a": "yx"},
            'selection number 1: "a" is "yx", which does not match "^x"',
        ),
        (
            [{"field": [{"name": "a", "matches": ["x"]}]}],
            {},
            'selection number 1: "a" has no value, so it does not match "x"',
        ),
        (
            [{"field": [{"name": "a", "not_matches": ["x"]}]}],
            {"a": "yxy"},
            'selection number 1: "a" is "yxy", which matches "x"',
        ),
        (
            [{"has_keys": ["a"]}, {"has_keys": ["b"]}],
            {"c": 1},
            'selection number 1: metadata lack "a"; selection number 2: metadata lack "b"',
        ),
    ],
)
def test_a_rejection_says_which_condition_did_not_hold(
    selection: list[dict[str, Any]], metadata: dict[str, Any], reason: str
) -> None:
    verdict = rules.selected(metadata, rule_set(selection=selection), {})
    assert (verdict.holds, verdict.reason) == (False, reason)


def test_one_block_that_holds_is_enough() -> None:
    both = rule_set(selection=[{"has_keys": ["a"]}, {"field": "b", "not_matches": ["x"]}])
    assert rules.selected({}, both, {}).holds
    assert rules.selected({}, rule_set(), {}).holds


def test_a_selection_function_that_raises_is_a_failed_attempt() -> None:
    def raising(**_: Any) -> bool:
        raise KeyError("cloud")

    asked = rule_set(selection=[{"type": "plugin", "function": "f", "kwargs": {"most": 3}}])
    with pytest.raises(AttemptFailed, match="selection function \"f\" raised KeyError: 'cloud'"):
        rules.selected({}, asked, {"f": raising})
    assert not rules.selected({"n": 4}, asked, {"f": lambda metadata, most: metadata["n"] < most}).holds


def test_the_first_route_that_matches_wins() -> None:
    routed = rule_set(
        archive="rest",
        routing=[
            {"match": "cal*", "archive": "calibration"},
            {"type": "plugin", "function": "f"},
        ],
    )
    functions = {"f": lambda metadata: metadata.get("archive")}
    assert rules.route("site/cal1", {"archive": "x"}, routed, watch(), functions)[0] == "calibration"
    assert rules.route("run1", {"archive": "x"}, routed, watch(), functions)[0] == "x"
    assert rules.route("run1", {}, routed, watch(), functions)[0] == "rest"


def test_without_any_route_the_watch_decides_or_nobody() -> None:
    assert rules.route("a", {}, rule_set(), watch(archive="main"), {}) == ("main", "the watch's archive")
    with pytest.raises(Unroutable, match="no routing matches"):
        rules.route("a", {}, rule_set(), watch(), {})


def test_attempts_end_after_the_first_and_max_retries_more() -> None:
    service = ServiceSection(max_retries=2)
    assert rules.after_failure(2, service, NOW, "why", 0.5).at is not None
    assert rules.after_failure(3, service, NOW, "why", 0.5).at is None


@given(
    attempts=st.integers(1, 10_000),
    jitter=st.floats(0, 1),
    backoff=st.floats(1, 1000),
    first=st.integers(1, 86_400),
    longest=st.integers(1, 86_400),
)
def test_waits_grow_up_to_the_longest(
    attempts: int, jitter: float, backoff: float, first: int, longest: int
) -> None:
    service = ServiceSection(
        retry_delay=timedelta(seconds=first),
        retry_delay_max=timedelta(seconds=longest),
        retry_backoff=backoff,
    )
    wait = rules.delay(attempts, service, jitter)
    assert timedelta(seconds=0.89 * min(first, longest)) <= wait <= timedelta(seconds=1.11 * longest)
    assert wait <= rules.delay(attempts + 1, service, jitter)
