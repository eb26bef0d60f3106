"""Names that people read as one, and what is said of them."""

from typing import Any
from unicodedata import normalize

import pytest

from carbonation_core.config.sections import Watch
from carbonation_core.rules.near_misses import difference, like_keys, like_listed, like_pattern, waits
from carbonation_core.rules.readiness import Shortfall
from carbonation_core.rules.rule_sets import RuleSet

NFC, NFD = normalize("NFC", "café.dat"), normalize("NFD", "café.dat")
PAIRS = RuleSet.model_validate(
    {
        "completeness": {
            "group_by": "stem",
            "expected_extensions": [".dat", ".json"],
            "optional_extensions": [".tar.gz"],
        },
        "integrity": [{"type": "checksum", "sidecar": ".sha256"}],
    }
)
ONES = RuleSet.model_validate({"integrity": [{"type": "checksum", "sidecar": ".sha256"}]})


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("a.dat", "a.dat", None),
        ("a.dat", "b.dat", None),
        ("A.DAT", "a.dat", "case"),
        (NFC, NFD, "Unicode form (NFC and NFD)"),
        (NFC.upper(), NFD, "case and Unicode form (NFC and NFD)"),
    ],
)
def test_what_sets_two_names_apart(one: str, other: str, apart: str | None) -> None:
    assert difference(one, other) == difference(other, one) == apart


@pytest.mark.parametrize(
    ("rules", "names", "said"),
    [
        (
            PAIRS,
            ["A.DAT"],
            "A.DAT has the extension .DAT, and .dat is expected: they differ by case alone",
        ),
        (
            PAIRS,
            ["a.TAR.gz"],
            "a.TAR.gz has the extension .TAR.gz, and .tar.gz is expected: they differ by case alone",
        ),
        (PAIRS, ["a.md"], "a.md has the extension .md, which is neither expected nor optional"),
        (PAIRS, ["README"], "README has no extension"),
        (
            PAIRS,
            ["a.dat.SHA256"],
            "a.dat.SHA256 has the extension .SHA256, and .sha256 is that of checksums: "
            "they differ by case alone",
        ),
        (
            ONES,
            ["a.SHA256"],
            "a.SHA256 has the extension .SHA256, and .sha256 is that of checksums: they differ by case alone",
        ),
        (PAIRS, ["a.dat", "a.tar.gz", "a.dat.sha256"], ""),
        (ONES, ["a.dat", "a.md"], ""),
    ],
)
def test_a_group_that_lacks_a_file_names_the_likely_cause(
    rules: RuleSet, names: list[str], said: str
) -> None:
    assert waits(Shortfall((".x",)), names, rules) == f"for .x; {said}".removesuffix("; ")
    assert waits(Shortfall(), names, rules) == ""


def test_only_a_few_files_are_named() -> None:
    assert waits(Shortfall((".dat",)), [f"{number}.md" for number in range(100)], PAIRS).count("neither") == 3


def test_a_key_that_is_read_as_another() -> None:
    assert like_keys(["run1", "run2", "Run1", "run2"]) == {
        "run1": 'group "Run1" waits, too, and its key differs by case alone',
        "Run1": 'group "run1" waits, too, and its key differs by case alone',
    }


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (NFD, f'lists "{NFD}", which differs by Unicode form (NFC and NFD) alone'),
        (NFC.title(), f'lists "{NFC.title()}", which differs by case alone'),
        (f"data/{NFD}", f'lists "data/{NFD}", with a directory before the name'),
        (f"data\\x5c{NFC}", f'lists "data\\x5c{NFC}", with a directory before the name'),
        ("other.dat", None),
        (NFC, None),
    ],
)
def test_a_list_that_names_a_file_otherwise(listed: str, said: str | None) -> None:
    assert like_listed(NFC, ["b", listed]) == said


@pytest.mark.parametrize(
    ("name", "patterns", "said"),
    [
        ("A.DAT", ["*.json", "*.dat"], 'it differs from "*.dat" by case alone'),
        (NFD, [f"{NFC[:4]}*"], f'it differs from "{NFC[:4]}*" by Unicode form (NFC and NFD) alone'),
        ("a.md", ["*.dat"], None),
    ],
)
def test_a_pattern_that_is_read_as_if_it_fitted(name: str, patterns: list[str], said: Any) -> None:
    watch = Watch.model_validate({"name": "w", "path": "/in", "rules": "r", "patterns": patterns})
    assert like_pattern(name, watch) == said
