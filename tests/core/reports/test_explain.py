"""The whole story of a file or a group."""

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from carbonation_core.lifecycle import FileStatus
from carbonation_core.reports.explain import (
    Explanation,
    GroupStory,
    explain,
    file_stands,
    group_stands,
    verdict,
)
from carbonation_core.reports.preview import LEFT_ALONE, preview
from carbonation_core.reports.waiting import Wait
from tests import databases
from tests.core.reports.test_waiting import FILE, GROUP, NOW, WATCH
from tests.site import PAIRS, Site, SiteMaker, touch


def only(told: Explanation) -> GroupStory:
    (group,) = told.groups
    assert told.files == told.watches == ()
    return group


@pytest.mark.parametrize("status", FileStatus)
def test_where_a_file_stands_is_a_sentence_in_each_status(status: FileStatus) -> None:
    file = FILE._replace(status=status, error_message="is odd")
    sentence = file_stands(file, NOW, None)
    assert sentence.partition(": is odd")[0].endswith("since 2026-01-01 12:00:00 UTC")


@pytest.mark.parametrize(
    "status",
    [
        status
        for status in FileStatus
        if status
        not in (FileStatus.DETECTED, FileStatus.WAITING, FileStatus.RETRY_PENDING, FileStatus.ARCHIVED)
    ],
)
def test_what_does_not_go_on_by_itself_says_what_brings_it_further(status: FileStatus) -> None:
    assert "; it " in file_stands(FILE._replace(status=status), NOW, None)


def test_where_a_group_stands_begins_with_what_it_waits_for() -> None:
    told = group_stands(GROUP, [FILE], Wait("waits for .json"), NOW + timedelta(hours=3))
    assert told == "waits for .json; it is open for 3 h"


def test_a_complete_group_that_has_files_again_says_both() -> None:
    group = GROUP._replace(complete=True, completed_at=NOW, reopened_at=NOW)
    told = group_stands(group, [FILE], Wait("is whole"), NOW + timedelta(seconds=5))
    assert (
        told
        == "is complete since 2026-01-01 12:00:00 UTC, and has files again: it is whole; it is open for 5 s"
    )


def test_a_group_at_its_end_counts_its_files_and_gives_the_reasons() -> None:
    failed = FILE._replace(status=FileStatus.FAILED, error_message="no route")
    told = group_stands(GROUP, [failed, failed], None, NOW)
    assert told == "is not complete, and waits for nothing: 2 failed; no route"


def test_verdicts_name_what_decided() -> None:
    watch = WATCH.model_copy(update={"patterns": ("*.dat",)})
    assert verdict(watch, "a.dat") == (True, 'takes it, by rule set "pairs"')
    assert verdict(watch, "a.tmp") == (False, 'leaves it alone: its name matches "*.tmp" of ignore_patterns')
    assert verdict(watch, "a.nc") == (False, 'leaves it alone: its name matches none of its patterns "*.dat"')
    assert "is not recursive" in verdict(watch, "sub/a.dat")[1]
    assert verdict(watch.model_copy(update={"recursive": True}), "sub/a.dat")[0]


@pytest.mark.parametrize("asked", ["run1", "run1.dat", "{0}/incoming/run1.dat", "{0}/archive/run1.dat"])
def test_a_group_is_found_by_its_key_and_by_each_path_of_its_files(site: Site, asked: str) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    group = only(explain(site.project, asked.format(site.directory)))
    assert group.group_key == "run1"
    assert group.stands == "is complete since 2026-01-01 12:00:03 UTC, in archive main"


def test_the_story_of_an_archived_group(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    group = only(explain(site.project, "run1"))
    (attempt,) = group.attempts
    assert (attempt.run_id, attempt.outcome, attempt.files) == ("run-1", "archived", 2)
    assert attempt.reason == "the watch's archive"
    assert [entry.event for entry in group.feed] == ["completed"]
    dat, json = group.files
    assert dat.path.endswith("run1.dat")
    assert json.path.endswith("run1.json")
    (copy,) = dat.copies
    assert (copy.path, copy.size_bytes, copy.digest) == (str(site.archive / "run1.dat"), 5, dat.digest)
    assert [(step.to_status, step.event, step.run_id) for step in dat.history] == [
        ("detected", "seen", None),
        ("waiting", "grouped", None),
        ("archived", "archived", "run-1"),
    ]


def test_the_rules_that_let_a_group_pass_are_kept_with_its_attempt(make: SiteMaker) -> None:
    site = make(
        """
        [[single.selection]]
        lacks_keys = ["start"]
        [[single.routing]]
        match = "*.dat"
        archive = "main"
        """,
        watch={"rules": '"single"'},
    )
    site.deliver("a.dat")
    site.one_pass()
    (attempt,) = only(explain(site.project, "a.dat")).attempts
    assert attempt.reason == 'selection number 1 holds; routing number 1: "a.dat" matches "*.dat"'


def test_a_rejected_group_names_the_selection_that_rejected_it(make: SiteMaker) -> None:
    site = make('[[single.selection]]\nhas_keys = ["category"]\n', watch={"rules": '"single"'})
    site.deliver("a.dat")
    site.one_pass()
    group = only(explain(site.project, "a.dat"))
    assert group.stands == (
        'is not complete, and waits for nothing: 1 not_selected; selection number 1: metadata lack "category"'
    )
    assert group.attempts[0].outcome == "not_selected"


def test_a_failed_attempt_is_told_with_its_reason_and_its_next_time(make: SiteMaker) -> None:
    site = make('[single.metadata]\nextract = "broken"\n')
    site.deliver("a.dat", content=b"broken")
    site.one_pass()
    group = only(explain(site.project, "a.dat"))
    assert group.stands.startswith("waits for its next attempt, at 2026-01-01 12:")
    assert group.waits_until == group.files[0].waits_until
    assert "the file says it is broken" in (group.attempts[0].reason or "")
    assert (group.files[0].attempts_failed, group.attempts[0].stage) == (1, "completeness")


def test_an_offered_group_names_its_batch(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    group = only(explain(site.project, "run1"))
    assert group.stands.startswith(f"waits for its run to start; it was offered as batch {offer.batch_id}")
    assert (group.attempts[0].status, group.attempts[0].outcome) == ("offered", None)


def test_a_replaced_copy_is_told_with_when_it_was_superseded(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"other")
    site.one_pass()
    dat = only(explain(site.project, "run1")).files[0]
    old, new = dat.copies
    assert (old.superseded_at is not None, new.superseded_at) == (True, None)
    assert dat.missing_copies == ()
    (site.archive / "run1.dat").unlink()
    assert only(explain(site.project, "run1")).files[0].missing_copies == (new.path,)


def test_a_file_that_failed_a_check_is_told_with_the_group_that_waits_for_it(site: Site) -> None:
    site.deliver("run1.dat")
    site.deliver("run1.json", content=b"")
    site.settle()
    told = explain(site.project, "run1.json")
    assert "; run1.json failed a check: it has 0 bytes, fewer than min_size = 1" in only(told).stands
    assert [file.status for file in only(told).files] == ["waiting", "integrity_failed"]


def test_a_file_without_a_group_has_a_story_too(site: Site) -> None:
    site.deliver("run1.dat")
    site.tick()
    told = explain(site.project, "run1.dat")
    (file,) = told.files
    assert told.groups == ()
    assert explain(site.project, "run1").files == told.files  # by the key that it will have
    assert (file.status, file.on_disk) == ("detected", "there")
    assert file.stands.startswith("waits for run1.dat to settle: unchanged for 2 s")
    touch(site.incoming / "run1.dat", b"more")
    (file,) = explain(site.project, "run1.dat").files
    assert file.on_disk == "there, other than at the last look"
    (site.incoming / "run1.dat").unlink()
    (file,) = explain(site.project, "run1.dat").files
    assert file.on_disk == "not there"


@databases.one
def test_of_a_path_that_nobody_has_seen_each_watch_says_whether_it_would_take_it(make: SiteMaker) -> None:
    site = make(
        more="""
        [[watch]]
        name = "other"
        path = "incoming"
        patterns = ["*.nc"]
        rules = "pairs"
        archive = "main"
        """
    )
    site.deliver("a.dat")
    told = explain(site.project, str(site.incoming / "a.dat"))
    assert not told.is_known
    assert [(one.watch_name, one.takes, one.on_disk) for one in told.watches] == [
        ("incoming", True, "there"),
        ("other", False, "there"),
    ]
    assert explain(site.project, "a.dat", "other").watches[0].watch_name == "other"


@databases.one
def test_nothing_is_said_of_a_word_that_nobody_knows(site: Site) -> None:
    told = explain(site.project, "nothing")
    assert (told.is_known, told.watches) == (False, ())
    assert told.fault == 'nothing is known of "nothing": no watch has seen such a file or group'
    assert "no watch looks there" in (explain(site.project, "/nowhere/x").fault or "")


def test_a_file_of_two_watches_and_a_key_of_two_watches_are_told_of_both(make: SiteMaker) -> None:
    site = make(
        more="""
        [[watch]]
        name = "other"
        path = "incoming"
        rules = "pairs"
        archive = "main"
        """
    )
    site.deliver("run1.dat")
    from carbonation_core.delivery.observe import observe

    for _ in range(2):
        site.settle()
        observe(site.project, "other")
    for asked in ("run1", "run1.dat"):
        found = explain(site.project, asked).groups
        assert [group.watch_name for group in found] == ["incoming", "other"]
    assert only(explain(site.project, "run1", "other")).watch_name == "other"


def test_a_name_is_found_in_whatever_directory_and_there_may_be_many(make: SiteMaker) -> None:
    site = make(watch={"recursive": "true"})
    for number in range(21):
        site.deliver(f"d{number}/run1.dat")
    site.settle()
    told = explain(site.project, "run1.dat")
    assert (len(told.groups), told.more) == (20, True)
    assert only(explain(site.project, "d3/run1.dat")).group_key == "d3/run1"


def test_odd_names_are_taken_raw_and_as_they_are_spelled(site: Site) -> None:
    raw = os.fsdecode(b"caf\xe9.dat")
    site.deliver(raw)
    site.settle()
    for asked in (raw, r"caf\xe9.dat", os.fsdecode(b"caf\xe9"), r"caf\xe9"):
        assert only(explain(site.project, asked)).group_key == r"caf\xe9"


@databases.one
def test_an_archived_file_is_found_by_way_of_a_symlink_too(make: SiteMaker) -> None:
    site = make("[single]\n")
    site.deliver("a.dat")
    site.one_pass()
    (site.directory / "link").symlink_to(site.archive)
    assert only(explain(site.project, str(site.directory / "link" / "a.dat"))).group_key == "a.dat"


def test_a_path_by_way_of_a_symlink_is_the_same_path(site: Site) -> None:
    site.deliver("run1.dat")
    site.settle()
    (site.directory / "link").symlink_to(site.incoming)
    assert only(explain(site.project, str(site.directory / "link" / "run1.dat"))).group_key == "run1"


def test_what_a_watch_that_is_configured_no_more_delivered_is_still_told(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    site.deliver("run2.dat")
    site.settle()
    renamed = site.project.config.watch[0].model_copy(update={"name": "renamed"})
    project = replace(site.project, config=site.project.config.model_copy(update={"watch": (renamed,)}))
    assert only(explain(project, "run1")).watch_name == "incoming"
    assert "watch incoming, which is configured no more" in only(explain(project, "run2")).stands


@databases.one
@pytest.mark.parametrize(
    ("names", "asked", "cause"),
    [
        (["A.DAT"], "A.DAT", "A.DAT has the extension .DAT, and .dat is expected: they differ by case alone"),
        (["notes.md"], "notes", "notes.md has the extension .md, which is neither expected nor optional"),
        (["run1.dat", "Run1.json"], "run1", 'group "Run1" waits, too, and its key differs by case alone'),
    ],
)
def test_what_waits_by_mistake_names_the_likely_cause(
    site: Site, names: list[str], asked: str, cause: str
) -> None:
    site.deliver(*names)
    site.settle()
    assert f"; {cause}; it is open" in only(explain(site.project, asked)).stands
    (previewed,) = [found for found in preview(site.project) if found.group_key == asked.partition(".")[0]]
    assert previewed.reason.endswith(f"; {cause}")


def test_a_name_that_almost_fits_a_pattern_says_so() -> None:
    takes, reason = verdict(WATCH.model_copy(update={"patterns": ("*.dat",)}), "A.DAT")
    assert not takes
    assert reason.endswith('matches none of its patterns "*.dat"; it differs from "*.dat" by case alone')


@databases.one
def test_a_dry_run_tells_of_names_that_almost_fit_a_pattern(make: SiteMaker) -> None:
    site = make(watch={"patterns": '["*.dat", "*.json"]'})
    site.deliver("A.DAT", "notes.md", "b.tmp", "run1.dat")
    (left,) = [found for found in preview(site.project) if found.verdict == LEFT_ALONE]
    assert (left.group_key, left.reason) == (
        "A.DAT",
        'its name matches none of the patterns of its watch; it differs from "*.dat" by case alone',
    )


@databases.one
def test_what_timed_out_by_mistake_names_the_likely_cause(make: SiteMaker) -> None:
    site = make(PAIRS.replace("primary", 'on_timeout = "skip"\n    primary'))
    site.deliver("A.DAT")
    site.settle()
    site.tick(3 * 3600)
    assert site.component("A.DAT").error_message == (
        "waited 120 minutes for .dat, .json; A.DAT has the extension .DAT, and .dat is expected: "
        "they differ by case alone"
    )


def test_why_a_pair_waits_for_another_attempt_is_told_once(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n')
    site.deliver("run1.dat", "run1.json", content=b"broken")
    site.one_pass()
    group = only(explain(site.project, "run1"))
    assert "waits for its next attempt, at 2026" in group.stands
    assert 'UTC: extractor "broken" raised ValueError: the file says it is broken' in group.stands
    assert [file.stands for file in group.files] == ["is retry_pending since 2026-01-01 12:00:03 UTC"] * 2
    assert "the file says it is broken" in str(group.files[1].reason)
