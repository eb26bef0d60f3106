"""What a group has, must have and lacks."""

from datetime import UTC, datetime
from typing import Any

import pytest

from carbonation_core.lifecycle import FileStatus
from carbonation_core.rules.readiness import Member, Readiness, readiness, shortfall
from carbonation_core.rules.rule_sets import RuleSet

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rule_set(**keys: Any) -> RuleSet:
    return RuleSet.model_validate(keys)


def grouped(**keys: Any) -> RuleSet:
    return rule_set(completeness={"group_by": "stem", **keys})


PAIR = grouped(expected_extensions=[".dat", ".json"], optional_extensions=[".tar.gz"])


def member(filename: str, status: FileStatus = FileStatus.WAITING, in_archive: bool = False) -> Member:
    return Member(filename, status, in_delivery=True, in_archive=in_archive)


def stands(
    files: list[Member], rules: RuleSet, unsettled: bool = False, timed_out: bool = False
) -> Readiness:
    return readiness(files, rules, unsettled, timed_out, opened_at=NOW)


def lacking(names: list[str], rules: RuleSet) -> tuple[str, ...]:
    return shortfall([member(name) for name in names], rules).names


WHOLE = [member("a.dat"), member("a.json")]


def test_a_whole_group_is_ready() -> None:
    assert stands(WHOLE, PAIR).ready


def test_a_group_with_an_unsettled_file_is_not_ready() -> None:
    assert not stands(WHOLE, PAIR, unsettled=True).ready
    files = [*WHOLE, member("a.tar.gz", FileStatus.DETECTED)]
    assert not stands(files, PAIR).ready


def test_an_archived_file_counts_and_a_missing_one_does_not() -> None:
    archived = member("a.dat", FileStatus.ARCHIVED, in_archive=True)
    missing = member("a.dat", FileStatus.MISSING)
    assert stands([archived, member("a.json")], PAIR).ready
    assert stands([missing, member("a.json")], PAIR).lacks.names == (".dat",)


def test_a_group_whose_files_ask_for_nothing_is_idle() -> None:
    archived = member("a.dat", FileStatus.ARCHIVED, in_archive=True)
    assert stands([archived], PAIR).idle


@pytest.mark.parametrize(
    ("on_timeout", "ready"), [("warn", False), ("skip", False), ("archive_partial", True)]
)
def test_only_archive_partial_makes_a_late_group_ready(on_timeout: str, ready: bool) -> None:
    late = grouped(expected_extensions=[".dat", ".json"], on_timeout=on_timeout)
    assert stands([member("a.dat")], late, timed_out=True).ready is ready


def test_missing_names_the_extensions_that_nobody_has() -> None:
    assert lacking(["run1.json", "run1.txt"], PAIR) == (".dat",)
    assert lacking(["anything"], rule_set()) == ()


def test_a_sidecar_that_is_only_read_counts_though_it_is_not_selected() -> None:
    only_read = rule_set(integrity=[{"type": "checksum", "sidecar": ".sha256", "archive_sidecar": False}])
    files = [member("a.dat"), member("a.dat.sha256", FileStatus.NOT_SELECTED)]
    assert stands(files, only_read).ready
    assert not stands(files, rule_set(integrity=[{"type": "checksum", "sidecar": ".sha256"}])).ready


def test_an_expected_extension_may_be_that_of_the_sidecars() -> None:
    listed = grouped(expected_extensions=[".dat", ".sha256"])
    both = rule_set(completeness=listed.completeness, integrity=[{"type": "checksum", "sidecar": ".sha256"}])
    assert lacking(["run1.dat", "run1.dat.sha256"], both) == ()
    assert lacking(["run1.dat", "run1.sha256"], both) == ()


def test_what_comes_late_to_a_group_archived_in_part_waits_for_nothing_else() -> None:
    late = grouped(expected_extensions=[".dat", ".json", ".xml"], on_timeout="archive_partial")
    there = [member("a.dat", FileStatus.ARCHIVED, in_archive=True), member("a.json")]
    assert stands(there, late).ready
    assert stands(there, late).lacks.in_words == "lacks .xml"
    assert not stands(there, grouped(expected_extensions=[".dat", ".json", ".xml"])).ready
