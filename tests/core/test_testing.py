"""What an author's tests are told of a delivery."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carbonation_core import ConfigError, Plugin
from carbonation_core.pytest_plugin import deliver  # noqa: F401  # a fixture
from carbonation_core.testing import Preview, try_delivery
from tests.site import PAIRS, PLUGIN, File, no_tests, sizes

Deliver = Callable[..., list[Preview]]
RULES = f"""{PAIRS}
    [pairs.metadata]
    extract = "sizes"
    [[pairs.selection]]
    type = "plugin"
    function = "no_tests"
    [[pairs.routing]]
    type = "plugin"
    function = "to_other"
    [[pairs.routing]]
    match = "*"
    archive = "main"
"""
PAIR = {"run1.dat": "red", "run1.json": "{}"}
TO = {"main": "{category}", "other": "/srv/other"}


def test_a_delivery_is_described_and_routed_as_the_service_would(deliver: Deliver) -> None:  # noqa: F811
    (run,) = deliver(PLUGIN, RULES, PAIR, archives=TO)

    assert (run.group_key, run.verdict, run.files) == ("run1", "archive", ("run1.dat", "run1.json"))
    assert run.metadata == {"category": "red", "size": 5}
    assert run.destination == "/archive/red"
    assert [(one.stage, one.verdict, one.reason) for one in run.stages] == [
        ("integrity", "passed", ""),
        ("completeness", "passed", ""),
        ("extract", "passed", ""),
        ("select", "passed", "selection number 1 holds"),
        ("route", "passed", 'routing number 2: "run1" matches "*"'),
    ]
    assert all(one.seconds >= 0 for one in run.stages)


def test_a_delivery_ends_at_the_stage_that_refuses_it(deliver: Deliver) -> None:  # noqa: F811
    (run,) = deliver(PLUGIN, RULES, {**PAIR, "run1.dat": "test"}, archives=TO)

    assert (run.verdict, run.stages[-1].stage) == ("not_selected", "select")
    assert run.metadata["category"] == "test"


def test_what_a_function_raises_comes_with_its_line(deliver: Deliver) -> None:  # noqa: F811
    def raises(file_paths: list[Path]) -> dict[str, Any]:
        raise LookupError("no such header")

    plugin = Plugin(File, {"sizes": raises}, selection_functions={"no_tests": no_tests})
    (run,) = deliver(
        plugin,
        RULES.replace('type = "plugin"\n    function = "to_other"', 'match = "x"\n    archive = "main"'),
        PAIR,
    )

    assert run.verdict == "retry_pending"
    assert run.reason.startswith('extractor "sizes" raised LookupError: no such header (')
    assert f"{__file__}, line {raises.__code__.co_firstlineno + 1}" in run.reason


def test_archives_that_are_not_given_are_made_up(deliver: Deliver) -> None:  # noqa: F811
    (run,) = deliver(
        Plugin(File, {"sizes": sizes}), '[[all.routing]]\nmatch = "*"\narchive = "main"\n', {"a.bin": "x"}
    )
    assert run.destination == "/archive/main"

    (run,) = deliver(Plugin(File), "[all]\n", {"a.bin": "x"})
    assert run.destination == "/archive/archive"


def test_paths_and_rules_may_be_files(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[one]\n[two.completeness]\nexpected_extensions = [".dat"]\n')
    for name in ("site_a/run1.dat", "site_b/run1.dat", "site_b/left_out.dat"):
        path = tmp_path / "samples" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    taken = [tmp_path / "samples/site_a", tmp_path / "samples/site_b/run1.dat"]

    found = try_delivery(Plugin(File), rules, taken, rule_set="two")

    assert [one.group_key for one in found] == ["site_a/run1", "site_b/run1"]


def test_a_rule_set_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='there is no rule set "tow"'):
        try_delivery(Plugin(File), "[two]\n", [tmp_path], rule_set="tow")
