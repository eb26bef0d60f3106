"""What the earlier release decided of keys, completeness, selection and routing, these rules decide, too.

Each decision as docs/migrating.md has it, in as few words as it can be said, beside ours.
"""

import fnmatch
import re
from pathlib import PurePath
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from carbonation_core.config.sections import Watch
from carbonation_core.errors import Unroutable
from carbonation_core.lifecycle import FileStatus
from carbonation_core.rules import decide
from carbonation_core.rules.readiness import Member, shortfall
from carbonation_core.rules.rule_sets import RuleSet

NAMES = st.from_regex(r"[ab.]{0,3}[ab](\.[abd]{0,2}){0,3}", fullmatch=True)
EXTENSIONS = st.lists(st.sampled_from([".a", ".b", ".d"]), unique=True, max_size=3)
VALUES = st.dictionaries(
    st.sampled_from(["x", "y", "z"]), st.none() | st.sampled_from(["alpha", "beta", "", 0, 7, True, 1.5])
)
EXPRESSIONS = st.lists(st.sampled_from(["^a", "a$", "^$", "7", "True", "e"]), max_size=2)
CONDITIONS = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "y"]), "matches": EXPRESSIONS, "not_matches": EXPRESSIONS}
).filter(lambda one: one["matches"] or one["not_matches"])
KEYS = st.lists(st.sampled_from(["x", "y"]), max_size=2)
BLOCKS = st.fixed_dictionaries(
    {"has_keys": KEYS, "lacks_keys": KEYS, "field": st.lists(CONDITIONS, max_size=2)}
).filter(lambda block: any(block.values()))
ROUTES = st.lists(st.tuples(st.sampled_from(["*", "a*", "[ab]*", "?", "*.d", "A*"]), st.sampled_from("mn")))


def lacking(names: list[str], rules: RuleSet) -> tuple[str, ...]:
    members = [Member(name, FileStatus.WAITING, in_delivery=True, in_archive=False) for name in names]
    return shortfall(members, rules).names


@given(NAMES, EXTENSIONS)
def test_a_stem_is_the_name_less_its_last_suffix(name: str, expected: list[str]) -> None:
    rules = RuleSet.model_validate({"completeness": {"expected_extensions": expected}})
    assert decide.group_key(name, rules) == PurePath(name).stem


@given(st.lists(NAMES, min_size=1, unique=True), EXTENSIONS)
def test_a_group_is_whole_when_each_expected_extension_is_a_last_suffix(
    names: list[str], expected: list[str]
) -> None:
    rules = RuleSet.model_validate({"completeness": {"expected_extensions": expected}})
    assert (not lacking(names, rules)) is (set(expected) <= {PurePath(name).suffix for name in names})


def wanted(block: dict[str, Any], metadata: dict[str, Any]) -> bool:
    def found(expressions: list[str], value: object) -> list[bool]:
        return [value is not None and re.search(one, str(value)) is not None for one in expressions]

    return (
        all(metadata.get(key) is not None for key in block["has_keys"])
        and all(metadata.get(key) is None for key in block["lacks_keys"])
        and all(
            (not one["matches"] or any(found(one["matches"], metadata.get(one["name"]))))
            and not any(found(one["not_matches"], metadata.get(one["name"])))
            for one in block["field"]
        )
    )


@given(st.lists(BLOCKS, max_size=3), VALUES)
def test_selection_is_any_block_of_which_all_conditions_hold(
    blocks: list[dict[str, Any]], metadata: dict[str, Any]
) -> None:
    rules = RuleSet.model_validate({"selection": blocks})
    holds = not blocks or any(wanted(block, metadata) for block in blocks)
    assert decide.selected(metadata, rules, lambda *_: False).holds is holds  # type: ignore[arg-type]


@given(NAMES, ROUTES, st.none() | st.just("default"), st.booleans())
def test_the_first_route_whose_glob_fits_wins(
    name: str, routes: list[tuple[str, str]], default: str | None, is_grouped: bool
) -> None:
    data = {
        "archive": default,
        "routing": [{"match": glob, "archive": archive} for glob, archive in routes],
        "completeness": {"expected_extensions": [".d"]} if is_grouped else None,
    }
    rules = RuleSet.model_validate(data)
    watch = Watch.model_validate({"name": "w", "path": "/in", "rules": "r"})
    asked = PurePath(name).stem if is_grouped else name
    expected = next((archive for glob, archive in routes if fnmatch.fnmatch(asked, glob)), default)
    try:
        found: str | None = decide.route(decide.group_key(name, rules), {}, rules, watch, lambda *_: None)[0]  # type: ignore[arg-type]
    except Unroutable:
        found = None
    assert found == expected
