"""rules.toml: what a rule set says once it is read."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from carbonation_core.config.loading import Config, load_config
from carbonation_core.names import matches_any
from carbonation_core.rules.rule_sets import PluginNames, RuleSet, load_rules, rules_digest

CONFIG = """
[[watch]]
name = "incoming"
path = "incoming"
rules = "default"
[[archive]]
name = "main"
destination = "archive/{category}"
"""
OFFERED = PluginNames(("csv",), ("by_day",), ("recent",), ("by_kind",), ("opens",))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "config.toml").write_text(CONFIG)
    return load_config(tmp_path / "config.toml")


def default(text: str, config: Config) -> RuleSet:
    return load_rules(text, config, OFFERED).sets["default"]


def test_files_are_grouped_by_stem_unless_said_otherwise(config: Config) -> None:
    rules = default('[default.completeness]\nexpected_extensions = [".a"]\n', config)
    assert rules.completeness
    assert rules.completeness.group_by == "stem"


def test_an_empty_completeness_is_none(config: Config) -> None:
    assert default("[default.completeness]\n", config).completeness is None


def test_an_empty_rule_set_accepts_all(config: Config) -> None:
    rules = default("[default]\n", config)
    assert rules == RuleSet()
    assert rules.completeness is None
    assert rules.selection == ()


def test_a_version_is_named_by_the_digest_of_its_text(config: Config) -> None:
    text = "[default]\n# é\n"
    rules = load_rules(text, config, OFFERED)
    assert rules.text == text
    assert rules.digest == rules_digest(text) == hashlib.sha256(text.encode()).hexdigest()


def test_everything_at_once(config: Config) -> None:
    rules = default(
        """
        [default]
        archive = "main"
        [[default.integrity]]
        type = "min_size"
        value = 1
        [[default.integrity]]
        type = "max_size"
        value = 1000
        [[default.integrity]]
        type = "magic"
        value = "89 50 4E 47"
        offset = 4
        extensions = [".png"]
        [[default.integrity]]
        type = "checksum"
        sidecar = ".sha256"
        archive_sidecar = false
        grace = "1h"
        [[default.integrity]]
        type = "checksum"
        manifest = "*SUMS"
        algorithm = "md5"
        [[default.integrity]]
        type = "function"
        function = "opens"
        kwargs = { strict = true }
        [default.completeness]
        group_by = "plugin"
        group_function = "by_day"
        expected_extensions = [".dat", ".tar.gz"]
        optional_extensions = [".json"]
        primary_extension = ".dat"
        timeout_minutes = 1.5
        on_timeout = "skip"
        [default.metadata]
        extract = "csv"
        [[default.selection]]
        has_keys = ["start"]
        lacks_keys = ["bad"]
        field = [{ name = "category", matches = ["^s"], not_matches = ["x$"] }]
        [[default.selection]]
        type = "plugin"
        function = "recent"
        kwargs = { days = 3 }
        [[default.routing]]
        match = "a*"
        archive = "main"
        [[default.routing]]
        type = "plugin"
        function = "by_kind"
        """,
        config,
    )
    assert rules.completeness is not None
    assert rules.completeness.extensions == (".tar.gz", ".json", ".dat")
    assert rules.completeness.timeout == timedelta(seconds=90)
    assert rules.selection[0].field[0].matches[0].is_found_in("sst")
    assert rules.selection[1].kwargs == {"days": 3}
    assert [block.function for block in rules.routing] == [None, "by_kind"]


def test_the_older_form_of_a_condition_means_the_same(config: Config) -> None:
    older = default(
        '[[default.selection]]\nfield = "category"\nmatches = ["^s"]\nnot_matches = ["x"]\n', config
    )
    newer = default(
        '[[default.selection]]\nfield = [{ name = "category", matches = ["^s"], not_matches = ["x"] }]\n',
        config,
    )
    assert older == newer


@pytest.mark.parametrize("minutes", ["0", "-1", "-0.5"])
def test_a_timeout_of_nothing_or_less_is_never(config: Config, minutes: str) -> None:
    rules = default(f'[default.completeness]\ngroup_by = "stem"\ntimeout_minutes = {minutes}\n', config)
    assert rules.completeness is not None
    assert rules.completeness.timeout is None


def test_without_a_timeout_a_group_waits_two_hours(config: Config) -> None:
    rules = default('[default.completeness]\ngroup_by = "stem"\n', config)
    assert rules.completeness is not None
    assert rules.completeness.timeout == timedelta(hours=2)
    assert rules.completeness.on_timeout == "warn"


def test_a_primary_extension_that_is_not_expected_is_legal(config: Config) -> None:
    default(
        '[default.completeness]\ngroup_by = "stem"\nexpected_extensions = [".a"]\nprimary_extension = ".b"\n',
        config,
    )


@pytest.mark.parametrize(
    ("name", "patterns", "fits"),
    [
        ("a.dat", ["*.dat"], True),
        ("a.DAT", ["*.dat"], False),
        ("a.dat", ["*.json", "a*"], True),
        ("a\n.dat", ["*.dat"], True),
        ("a[1].dat", ["a[[]1].dat"], True),
        ("a.dat", [], False),
    ],
)
def test_globs_are_tested_case_sensitively_against_the_whole_name(
    name: str, patterns: list[str], fits: bool
) -> None:
    assert matches_any(name, patterns) is fits
