"""Decisions, each in a few lines."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbonation_core.config.sections import ServiceSection, Watch
from carbonation_core.errors import Unroutable
from carbonation_core.rules import decide
from carbonation_core.rules.rule_sets import RuleSet

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def watch(**keys: Any) -> Watch:
    return Watch.model_validate({"name": "w", "path": "/in", "rules": "r", **keys})


def nobody(*_: object, **__: object) -> object:
    """No plugin is asked."""
    raise AssertionError


def rule_set(**keys: Any) -> RuleSet:
    return RuleSet.model_validate(keys)


def grouped(**keys: Any) -> RuleSet:
    return rule_set(completeness={"group_by": "stem", **keys})


PAIR = grouped(expected_extensions=[".dat", ".json"], optional_extensions=[".tar.gz"])


def test_a_file_has_settled_when_it_was_unchanged_for_so_long() -> None:
    assert decide.settles_in(NOW - timedelta(seconds=2), NOW, 2) == timedelta(0)
    assert decide.settles_in(NOW - timedelta(seconds=1), NOW, 2) == timedelta(seconds=1)


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
    assert decide.group_key(path, PAIR) == key


def test_across_directories_the_directory_is_left_out_of_the_key() -> None:
    assert decide.group_key("site/run1.dat", grouped(across_directories=True)) == "run1"


def test_without_completeness_the_key_is_the_path() -> None:
    assert decide.group_key("site/run1.dat", rule_set()) == "site/run1.dat"


def summed(sidecar: str = ".sha256", **keys: Any) -> dict[str, Any]:
    return {"type": "checksum", "sidecar": sidecar, **keys}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("run1.dat.sha256", "run1"),
        ("run1.tar.gz.sha256", "run1"),
        ("run1.sha256", "run1"),
        ("run1.x.sha256", "run1.x"),  # ".x" is listed nowhere, so "run1.x" is a stem
        ("run1.log.sha256", "run1"),
        ("site/run1.dat.sha256", "site/run1"),
        (".sha256", ".sha256"),
    ],
)
def test_a_sidecar_has_the_key_of_the_file_it_names(name: str, key: str) -> None:
    assert PAIR.completeness is not None
    rules_of_pairs = rule_set(
        completeness=PAIR.completeness, integrity=[summed(), summed(".md5", extensions=[".log"])]
    )
    assert decide.group_key(name, rules_of_pairs) == key


def test_a_sidecar_of_a_group_of_one_has_the_path_of_its_file() -> None:
    assert decide.group_key("deep/a.bin.md5", rule_set(integrity=[summed(".md5")])) == "deep/a.bin"
    assert decide.group_key("deep/a.bin.md5", rule_set()) == "deep/a.bin.md5"


def test_where_nothing_is_listed_a_sidecars_last_suffix_but_one_is_an_extension() -> None:
    assert (
        decide.group_key("a.b.dat.sha256", rule_set(completeness={"group_by": "stem"}, integrity=[summed()]))
        == "a.b"
    )


@pytest.mark.parametrize(
    ("asking", "there", "lacking"),
    [
        (["a.dat"], [], ("a.dat.sha256",)),
        (["a.dat", "a.dat.sha256"], [], ()),
        (["a.dat", "a.sha256"], [], ()),
        (["a.dat"], ["a.dat.sha256"], ()),
        ([], ["a.dat"], ()),
        (["a.dat.sha256"], [], ("a.dat",)),
        (["a.dat.sha256"], ["a.dat"], ()),
        (["a.sha256"], ["a.json"], ()),
        (["a.dat", "a.json", "a.json.sha256"], [], ("a.dat.sha256",)),
    ],
)
def test_a_file_and_its_sidecar_wait_for_each_other(
    asking: list[str], there: list[str], lacking: tuple[str, ...]
) -> None:
    assert decide.unaccompanied(asking, [*asking, *there], rule_set(integrity=[summed()])) == lacking


def test_a_rule_with_extensions_or_a_manifest_waits_for_fewer() -> None:
    few = rule_set(integrity=[summed(extensions=[".dat"])])
    assert decide.unaccompanied(["a.json"], ["a.json"], few) == ()
    either = rule_set(integrity=[summed(manifest="SHA256SUMS")])
    assert decide.unaccompanied(["a.json"], ["a.json"], either) == ()


def test_sizes_hold_for_extensions_and_not_for_sidecars_and_manifests() -> None:
    small = rule_set(
        integrity=[
            {"type": "min_size", "value": 10},
            {"type": "max_size", "value": 5, "extensions": [".txt"]},
            summed(manifest="*SUMS"),
        ]
    )
    assert decide.stat_fault("a.dat", 9, small) == "has 9 bytes, fewer than min_size = 10"
    assert decide.stat_fault("a.txt", 20, small) == "has 20 bytes, more than max_size = 5"
    assert [decide.stat_fault(name, 9, small) for name in ("a.dat.sha256", "SHA256SUMS")] == [None, None]


def test_the_primary_file_comes_first() -> None:
    ordered = grouped(expected_extensions=[".dat", ".json"], primary_extension=".json")
    names = sorted(["a.txt", "a.dat", "a.json"], key=lambda name: decide.in_order(name, ordered))
    assert names == ["a.json", "a.dat", "a.txt"]


def test_sidecars_come_last() -> None:
    both = rule_set(completeness={"group_by": "stem"}, integrity=[summed()])
    assert sorted(["a.sha256", "a.z"], key=lambda name: decide.in_order(name, both)) == ["a.z", "a.sha256"]


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
            [{"field": [{"name": "a", "matches": ["^x", "^z"]}]}],
            {"a": "yx"},
            'selection number 1: "a" is "yx", which matches none of "^x", "^z"',
        ),
        (
            [{"field": [{"name": "a", "not_matches": ["^x", "x$"]}]}],
            {"a": "yx"},
            'selection number 1: "a" is "yx", which matches "x$"',
        ),
        (
            [{"field": [{"name": "a", "matches": ["y"], "not_matches": ["x"]}]}],
            {"a": "yx"},
            'selection number 1: "a" is "yx", which matches "x"',
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
    verdict = decide.selected(metadata, rule_set(selection=selection), nobody)
    assert (verdict.holds, verdict.reason) == (False, reason)


@pytest.mark.parametrize("field", ["category", None])
def test_a_value_that_matches_one_of_several_expressions_is_enough(field: str | None) -> None:
    expressions = {"matches": ["^gamma", "^beta"]}
    block = {"field": field, **expressions} if field else {"field": [{"name": "category", **expressions}]}
    either = rule_set(selection=[block])
    assert decide.selected({"category": "beta-2"}, either, {}).holds
    assert decide.selected({"category": "gamma"}, either, {}).holds
    assert not decide.selected({"category": "alpha"}, either, {}).holds
    assert not decide.selected({}, either, {}).holds


def test_a_missing_value_matches_nothing_that_it_should_not() -> None:
    neither = rule_set(selection=[{"field": "a", "not_matches": ["x", "y"]}])
    assert decide.selected({}, neither, {}).holds
    assert decide.selected({"a": None}, neither, {}).holds
    assert decide.selected({"a": "z"}, neither, {}).holds


@given(
    value=st.none() | st.text("ab", max_size=3),
    matches=st.lists(st.sampled_from(["a", "^b", "b$", "aa"]), max_size=3),
    not_matches=st.lists(st.sampled_from(["a", "^b", "b$", "ba"]), max_size=3),
)
def test_any_of_matches_and_none_of_not_matches(
    value: str | None, matches: list[str], not_matches: list[str]
) -> None:
    if not matches and not not_matches:
        return
    asked = rule_set(selection=[{"field": [{"name": "v", "matches": matches, "not_matches": not_matches}]}])
    wanted = (not matches or any(value is not None and re.search(one, value) for one in matches)) and not any(
        value is not None and re.search(one, value) for one in not_matches
    )
    assert decide.selected({"v": value}, asked, {}).holds is wanted


def test_one_block_that_holds_is_enough() -> None:
    both = rule_set(selection=[{"has_keys": ["a"]}, {"field": "b", "not_matches": ["x"]}])
    assert decide.selected({}, both, nobody).holds
    assert decide.selected({}, rule_set(), nobody).holds


def test_a_selection_function_is_asked_with_the_keywords_of_its_block() -> None:
    def few(kind: str, name: str, /, *, metadata: dict[str, Any], most: int) -> bool:
        assert (kind, name) == ("selection function", "few")
        return metadata["n"] < most

    asked = rule_set(selection=[{"type": "plugin", "function": "few", "kwargs": {"most": 3}}])
    assert decide.selected({"n": 2}, asked, few).holds
    assert decide.selected({"n": 4}, asked, few).reason == 'selection number 1: function "few" said no'


def test_the_first_route_that_matches_wins() -> None:
    routed = rule_set(
        archive="rest",
        routing=[
            {"match": "cal*", "archive": "calibration"},
            {"type": "plugin", "function": "f"},
        ],
    )

    def by_metadata(_kind: str, _name: str, /, *, metadata: dict[str, Any]) -> str | None:
        return metadata.get("archive")

    assert decide.route("site/cal1", {"archive": "x"}, routed, watch(), by_metadata)[0] == "calibration"
    assert decide.route("run1", {"archive": "x"}, routed, watch(), by_metadata)[0] == "x"
    assert decide.route("run1", {}, routed, watch(), by_metadata)[0] == "rest"


def test_without_any_route_the_watch_decides_or_nobody() -> None:
    assert decide.route("a", {}, rule_set(), watch(archive="main"), nobody) == ("main", "the watch's archive")
    with pytest.raises(Unroutable, match="no routing matches"):
        decide.route("a", {}, rule_set(), watch(), nobody)


def test_attempts_end_after_the_first_and_max_retries_more() -> None:
    service = ServiceSection(max_retries=2)
    assert decide.after_failure(2, service, NOW, "why", 0.5).at is not None
    assert decide.after_failure(3, service, NOW, "why", 0.5).at is None


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
    wait = decide.delay(attempts, service, jitter)
    assert timedelta(seconds=0.89 * min(first, longest)) <= wait <= timedelta(seconds=1.11 * longest)
    assert wait <= decide.delay(attempts + 1, service, jitter)
