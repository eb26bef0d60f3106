"""A group's way from delivery to the archive, on a real directory and database."""

import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from carbonation_core.claim import give_back, open_batches
from carbonation_core.db.batches import LEASE
from carbonation_core.db.engine import writing
from carbonation_core.db.models import Batch
from carbonation_core.errors import LostOwnership, ScanError
from carbonation_core.pipeline import Outcome, Stage, work
from carbonation_core.preview import preview
from carbonation_core.reconcile import reconcile_delivery
from carbonation_core.retry import retry
from tests.site import PAIRS, SINGLE, Site, SiteMaker, open_site, touch


def test_a_pair_is_archived_with_its_bytes_digest_and_place_in_the_feed(site: Site) -> None:
    site.deliver("run1.dat", "run1.json", content=b"content")
    site.one_pass()
    assert site.archived() == {"run1.dat": b"content", "run1.json": b"content"}
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}
    group = site.group("run1")
    assert group.complete
    assert group.archive_path == str(site.archive / "run1.dat")
    assert {copy.digest for copy in site.copies()} == {hashlib.sha256(b"content").hexdigest()}
    assert site.feed() == [("run1", "completed")]


def test_times_are_kept_and_modes_are_the_configured_ones(make: SiteMaker) -> None:
    site = make(archive={"file_mode": "0o444", "dir_mode": "0o700", "destination": '"archive/{group_key}"'})
    site.deliver("run1.dat", "run1.json")
    os.utime(site.incoming / "run1.dat", ns=(1, 86_400_000_000_001))
    site.one_pass()
    archived = (site.archive / "run1" / "run1.dat").stat()
    assert archived.st_mtime_ns == 86_400_000_000_001
    assert archived.st_mode & 0o777 == 0o444
    assert (site.archive / "run1").stat().st_mode & 0o777 == 0o700


def test_a_file_settles_only_after_the_quiet_time_by_our_clock(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    assert site.tick().unsettled == 2
    assert site.tick(1.9).unsettled == 2
    assert site.tick(0.1).unsettled == 0
    assert site.statuses()["run1.dat"] == "waiting"


def test_a_file_that_grows_settles_anew(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.tick()
    touch(site.incoming / "run1.dat", b"more bytes")
    found = site.tick(3)
    assert (found.changed, found.unsettled, found.ready) == (1, 1, 0)
    assert site.tick(2).ready == 1


def test_a_clock_that_goes_back_only_delays(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.tick()
    assert site.tick(-86_400).unsettled == 2
    assert site.tick(2).ready == 1


def test_a_group_waits_for_its_last_component(site: Site) -> None:
    site.deliver("run1.dat")
    assert site.one_pass().ready == 0
    site.deliver("run1.json")
    site.one_pass()
    assert site.group("run1").complete


def test_a_group_waits_for_an_optional_file_that_has_not_settled(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.tick()
    site.now += timedelta(seconds=1)
    site.deliver("run1.txt")
    site.tick()
    assert site.tick(1).ready == 0
    assert site.tick(1).ready == 1
    site.run_all()
    assert set(site.archived()) == {"run1.dat", "run1.json", "run1.txt"}


def test_a_late_optional_file_is_archived_beside_its_group_and_told_as_an_update(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    site.deliver("run1.txt")
    site.one_pass()
    assert site.statuses()["run1.txt"] == "archived"
    assert site.feed() == [("run1", "completed"), ("run1", "updated")]


def test_files_of_their_own_are_groups_of_one(make: SiteMaker) -> None:
    site = make(SINGLE, watch={"recursive": "true"})
    site.deliver("a.bin", "deep/b.bin")
    site.one_pass()
    assert site.group_keys() == {"a.bin", "deep/b.bin"}
    assert set(site.archived()) == {"a.bin", "b.bin"}


def test_equal_stems_in_different_directories_are_different_groups(make: SiteMaker) -> None:
    site = make(watch={"recursive": "true"}, archive={"destination": '"archive/{group_key}"'})
    site.deliver("site_a/run1.dat", "site_a/run1.json", "site_b/run1.dat", "site_b/run1.json")
    site.one_pass()
    assert site.group_keys() == {"site_a/run1", "site_b/run1"}
    assert len(site.archived()) == 4


def test_a_second_look_at_the_same_tree_changes_nothing(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    before = (site.archived(), site.feed(), site.history("run1.dat"))
    site.one_pass()
    assert site.reports == []
    assert (site.archived(), site.feed(), site.history("run1.dat")) == before


@pytest.mark.parametrize("action", ["copy", "move", "hardlink", "symlink"])
def test_every_action_brings_the_bytes_under_the_final_name(make: SiteMaker, action: str) -> None:
    site = make(archive={"action": f'"{action}"'})
    site.deliver("run1.dat", "run1.json", content=b"the bytes")
    site.one_pass()
    assert site.archived() == {"run1.dat": b"the bytes", "run1.json": b"the bytes"}
    source, archived = site.incoming / "run1.dat", site.archive / "run1.dat"
    assert source.exists() is (action != "move")
    assert archived.is_symlink() is (action == "symlink")
    if action == "hardlink":
        assert archived.samefile(source)
    assert site.component("run1.dat").in_delivery is (action != "move")
    assert site.one_pass().changed == 0
    assert site.feed() == [("run1", "completed")]


def test_a_source_that_a_killed_move_left_behind_is_removed_later(make: SiteMaker) -> None:
    site = make(archive={"action": '"move"'})
    site.deliver("run1.dat", "run1.json", content=b"the bytes")
    site.one_pass()
    os.link(site.archive / "run1.dat", site.incoming / "run1.dat")
    site.one_pass()
    assert not (site.incoming / "run1.dat").exists()
    assert site.archived()["run1.dat"] == b"the bytes"
    assert site.feed() == [("run1", "completed")]


def test_other_bytes_at_the_destination_are_never_touched(site: Site) -> None:
    site.archive.mkdir()
    (site.archive / "run1.dat").write_bytes(b"somebody else's")
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.archived() == {"run1.dat": b"somebody else's"}
    assert site.statuses()["run1.dat"] == "retry_pending"
    assert 'on_conflict = "error"' in site.component("run1.dat").error_message


def test_a_conflict_under_version_gets_a_name_of_its_own(make: SiteMaker) -> None:
    site = make(archive={"on_conflict": '"version"'})
    site.archive.mkdir()
    (site.archive / "run1.dat").write_bytes(b"somebody else's")
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.archived() == {
        "run1.dat": b"somebody else's",
        "run1.v2.dat": b"bytes",
        "run1.json": b"bytes",
    }


def test_equal_bytes_at_the_destination_count_as_archived(site: Site) -> None:
    site.archive.mkdir()
    (site.archive / "run1.dat").write_bytes(b"bytes")
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.statuses()["run1.dat"] == "archived"


def test_two_files_never_share_an_archive_path(make: SiteMaker) -> None:
    site = make(SINGLE, watch={"recursive": "true"})
    site.deliver("a/same.bin", content=b"one")
    site.deliver("b/same.bin", content=b"one")
    site.one_pass()
    assert sorted(site.statuses().values()) == ["archived", "retry_pending"]


def test_a_redelivery_replaces_and_is_told_again(site: Site) -> None:
    site.deliver("run1.dat", "run1.json", content=b"first")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"second")
    site.one_pass()
    assert site.archived() == {"run1.dat": b"second", "run1.json": b"first"}
    assert site.feed() == [("run1", "completed"), ("run1", "replaced")]
    superseded = [copy for copy in site.copies() if copy.superseded_at is not None]
    assert [copy.digest for copy in superseded] == [hashlib.sha256(b"first").hexdigest()]


def test_the_same_bytes_again_are_recorded_and_nothing_is_done(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"bytes")
    site.one_pass()
    assert site.reports[0].groups[0].outcome is Outcome.UNCHANGED
    assert site.feed() == [("run1", "completed")]
    assert len(site.copies()) == 2


def test_a_redelivery_that_is_routed_elsewhere_removes_the_old_copy(make: SiteMaker) -> None:
    site = make(
        PAIRS + '[pairs.metadata]\nextract = "sizes"\n', archive={"destination": '"archive/{category}"'}
    )
    site.deliver("run1.dat", content=b"red")
    site.deliver("run1.json")
    site.one_pass()
    assert set(site.archived()) == {"red/run1.dat", "red/run1.json"}
    touch(site.incoming / "run1.dat", b"blue")
    touch(site.incoming / "run1.json", b"{}")
    site.one_pass()
    assert set(site.archived()) == {"blue/run1.dat", "blue/run1.json"}


@pytest.mark.parametrize(
    ("policy", "content", "status"),
    [("ignore", b"first", "archived"), ("error", b"first", "failed"), ("version", b"first", "archived")],
)
def test_what_a_redelivery_policy_leaves_in_place(
    make: SiteMaker, policy: str, content: bytes, status: str
) -> None:
    site = make(watch={"redelivery": f'"{policy}"'})
    site.deliver("run1.dat", "run1.json", content=b"first")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"second")
    site.one_pass()
    assert site.archived()["run1.dat"] == content
    assert site.statuses()["run1.dat"] == status
    assert site.archived().get("run1.v2.dat") == (b"second" if policy == "version" else None)


@pytest.mark.parametrize(("policy", "left"), [("replace", False), ("ignore", True), ("error", True)])
def test_a_move_never_removes_bytes_that_it_did_not_archive(make: SiteMaker, policy: str, left: bool) -> None:
    site = make(watch={"redelivery": f'"{policy}"'}, archive={"action": '"move"'})
    site.deliver("run1.dat", "run1.json", content=b"first")
    site.one_pass()
    site.deliver("run1.dat", content=b"second")
    for _ in range(3):
        site.one_pass()
    assert (site.incoming / "run1.dat").exists() is left
    assert site.archived()["run1.dat"] == (b"first" if left else b"second")
    assert site.reports == []
    if left:
        assert f'redelivery = "{policy}"' in site.component("run1.dat").error_message


def test_metadata_fill_columns_and_destination(make: SiteMaker) -> None:
    site = make(
        PAIRS + '[pairs.metadata]\nextract = "sizes"\n',
        archive={"destination": '"archive/{category}/{size}"'},
    )
    site.deliver("run1.dat", content=b"blue\n")
    site.deliver("run1.json", content=b"{}")
    site.one_pass()
    group = site.group("run1")
    assert (group.category, group.size) == ("blue", 7)
    assert group.metadata == {"category": "blue", "size": 7}
    assert set(site.archived()) == {"blue/7/run1.dat", "blue/7/run1.json"}


def test_a_destination_without_its_key_fails_the_group_with_that_reason(make: SiteMaker) -> None:
    site = make(archive={"destination": '"archive/{category}"'})
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.statuses()["run1.dat"] == "failed"
    assert 'names "category"' in site.component("run1.dat").error_message


def test_metadata_cannot_lead_out_of_the_archive(make: SiteMaker) -> None:
    site = make(
        PAIRS + '[pairs.metadata]\nextract = "sizes"\n', archive={"destination": '"archive/{category}"'}
    )
    site.deliver("run1.dat", content=b"../../outside")
    site.deliver("run1.json")
    site.one_pass()
    assert site.statuses()["run1.dat"] == "failed"
    assert not (site.directory.parent / "outside").exists()


def test_selection_rejects_with_its_reason_and_other_rules_judge_anew(make: SiteMaker) -> None:
    rules = PAIRS + '[pairs.metadata]\nextract = "sizes"\n'
    selection = '[[pairs.selection]]\ntype = "plugin"\nfunction = "no_tests"\n'
    site = make(rules + selection)
    site.deliver("run1.dat", content=b"test")
    site.deliver("run1.json")
    site.one_pass()
    assert site.statuses() == {"run1.dat": "not_selected", "run1.json": "not_selected"}
    assert "no_tests" in site.component("run1.dat").error_message
    site.set_rules(rules)
    site.tick()
    site.one_pass()
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}


def test_routing_takes_the_first_match(make: SiteMaker) -> None:
    site = make(
        PAIRS + '[[pairs.routing]]\nmatch = "cal*"\narchive = "other"\n',
        more='[[archive]]\nname = "other"\ndestination = "other"\n',
    )
    site.deliver("cal1.dat", "cal1.json", "run1.dat", "run1.json")
    site.one_pass()
    assert set(site.archived()) == {"run1.dat", "run1.json"}
    assert {path.name for path in (site.directory / "other").iterdir()} == {"cal1.dat", "cal1.json"}


def test_one_groups_failure_never_touches_another(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n', service={"single_group_runs": "0"})
    for number in range(20):
        site.deliver(f"run{number}.dat", content=b"broken" if number == 7 else b"fine")
        site.deliver(f"run{number}.json")
    site.one_pass()
    (report,) = site.reports
    assert [group.group_key for group in report.with_outcome(Outcome.RETRY_PENDING)] == ["run7"]
    assert len(report.with_outcome(Outcome.ARCHIVED)) == 19
    assert "the file says it is broken" in site.component("run7.dat").error_message


def test_a_failed_attempt_is_repeated_at_its_time_and_given_up_in_the_end(make: SiteMaker) -> None:
    site = make(
        PAIRS + '[pairs.metadata]\nextract = "broken"\n',
        service={"max_retries": "2", "retry_delay": '"10m"'},
    )
    site.deliver("run1.dat", "run1.json", content=b"broken")
    site.one_pass()
    assert site.tick(60).ready == 0
    assert site.tick(11 * 60).ready == 1
    site.run_all()
    assert site.component("run1.dat").retry_count == 2
    assert site.tick(23 * 60).ready == 1
    site.run_all()
    assert site.statuses() == {"run1.dat": "failed", "run1.json": "failed"}
    assert site.tick(86_400).ready == 0


def test_a_retry_by_hand_takes_effect_at_the_next_look(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n', service={"max_retries": "0"})
    site.deliver("run1.dat", "run1.json", content=b"broken")
    site.one_pass()
    assert site.statuses()["run1.dat"] == "failed"
    site.set_rules(PAIRS + '[pairs.metadata]\nextract = "sizes"\n')
    site.deliver("other.dat")
    assert retry(site.project, group_key="run1") == 2
    site.tick()
    site.run_all()
    assert site.statuses()["run1.dat"] == "archived"
    assert site.component("run1.dat").error_message is None


def test_changed_bytes_give_a_failed_group_another_chance(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n', service={"max_retries": "0"})
    site.deliver("run1.dat", "run1.json", content=b"broken")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"fine now")
    touch(site.incoming / "run1.json", b"fine now")
    site.one_pass()
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}


def test_a_mended_file_takes_its_failed_siblings_along(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n', service={"max_retries": "0"})
    site.deliver("run1.dat", content=b"broken")
    site.deliver("run1.json", content=b"fine")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"fine now")
    site.one_pass()
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}


def test_a_run_executed_again_takes_its_failed_groups_at_once(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n')
    site.deliver("run1.dat", "run1.json", content=b"broken")
    site.settle()
    (offer,) = site.claim()
    site.run(offer)
    assert site.tick().ready == 0
    site.set_rules(PAIRS)  # the cause is repaired
    for run_id, archived in (("run-2", 1), ("run-3", 1)):
        with work(site.project, offer.batch_id, run_id, again=True) as job:
            assert len(job.advance(Stage.ARCHIVE).with_outcome(Outcome.ARCHIVED)) == archived
            job.finish()
    assert site.feed() == [("run1", "completed")]


def test_plugin_groups_leave_alone_what_has_no_key_and_try_again_what_raised(make: SiteMaker) -> None:
    rules = '[own.completeness]\ngroup_by = "plugin"\ngroup_function = "by_first_letter"\n'
    site = make(rules, service={"max_retries": "1", "retry_delay": '"1m"'})
    site.deliver("a1", "a2", "x1", "!1")
    site.one_pass()
    assert site.statuses() == {
        "a1": "archived",
        "a2": "archived",
        "x1": "not_selected",
        "!1": "retry_pending",
    }
    assert "cannot say" in site.component("!1").error_message
    site.tick(120)
    site.tick()
    assert site.statuses()["!1"] == "failed"


def test_a_warning_timeout_says_so_once_and_waits_on(make: SiteMaker) -> None:
    site = make(PAIRS.replace("primary", "timeout_minutes = 10\n    primary"))
    site.deliver("run1.dat")
    site.settle()
    site.tick(11 * 60)
    component = site.component("run1.dat")
    assert component.status == "waiting"
    assert component.error_message == "waited 10 minutes for .json"
    assert site.group("run1").deadline_at is None
    site.deliver("run1.json")
    site.one_pass()
    assert site.group("run1").complete


def test_a_skipping_timeout_ends_the_wait_until_a_sibling_arrives(make: SiteMaker) -> None:
    site = make(PAIRS.replace("primary", 'timeout_minutes = 10\n    on_timeout = "skip"\n    primary'))
    site.deliver("run1.dat")
    site.settle()
    site.tick(11 * 60)
    assert site.statuses() == {"run1.dat": "timed_out"}
    assert not site.group("run1").complete
    site.deliver("run1.json")
    site.one_pass()
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}


def test_a_partial_timeout_goes_on_with_what_is_there(make: SiteMaker) -> None:
    site = make(
        PAIRS.replace("primary", 'timeout_minutes = 10\n    on_timeout = "archive_partial"\n    primary')
    )
    site.deliver("run1.dat")
    site.settle()
    site.tick(11 * 60)
    site.run_all()
    assert site.statuses() == {"run1.dat": "archived"}
    site.deliver("run1.json")
    site.one_pass()
    assert site.statuses()["run1.json"] == "archived"
    assert site.feed() == [("run1", "completed"), ("run1", "updated")]


def test_a_file_that_leaves_is_cleared_and_comes_back(site: Site) -> None:
    site.deliver("run1.dat")
    site.settle()
    (site.incoming / "run1.dat").unlink()
    site.tick()
    assert site.statuses() == {"run1.dat": "cleared"}
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}


def test_an_archived_file_that_leaves_delivery_stays_archived(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    (site.incoming / "run1.dat").unlink()
    site.tick()
    component = site.component("run1.dat")
    assert (component.status, component.in_delivery, component.in_archive) == ("archived", False, True)


def test_a_watch_that_cannot_be_looked_at_clears_nothing(site: Site) -> None:
    site.deliver("run1.dat")
    site.settle()
    site.incoming.rename(site.directory / "elsewhere")
    with pytest.raises(ScanError, match="cannot be looked at"):
        site.tick()
    assert site.statuses() == {"run1.dat": "waiting"}


def test_a_source_that_changes_before_its_run_goes_back_to_settle(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    touch(site.incoming / "run1.dat", b"other bytes")
    report = site.run(offer)
    assert report.groups[0].outcome is Outcome.WAITING
    site.one_pass()
    assert site.archived()["run1.dat"] == b"other bytes"


def test_a_change_seen_while_its_batch_runs_is_archived_again(site: Site) -> None:
    site.deliver("run1.dat", "run1.json", content=b"first")
    site.settle()
    (offer,) = site.claim()
    with work(site.project, offer.batch_id, "run-1") as job:
        job.advance(Stage.ROUTE)
        touch(site.incoming / "run1.dat", b"second")
        site.tick()
        assert job.advance(Stage.ARCHIVE).groups[0].outcome is Outcome.WAITING
        job.finish()
    site.one_pass()
    assert site.archived() == {"run1.dat": b"second", "run1.json": b"first"}


def test_a_batch_has_one_owner(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    assert site.claim() == []
    with work(site.project, offer.batch_id, "run-1") as job:
        with pytest.raises(LostOwnership), work(site.project, offer.batch_id, "run-2"):
            pass
        job.advance(Stage.ARCHIVE)
        job.finish()
    assert site.feed() == [("run1", "completed")]


def test_whoever_lost_its_batch_records_nothing_and_leaves_nothing(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    with work(site.project, offer.batch_id, "run-1") as job:
        job.advance(Stage.ROUTE)
        give_back(site.project, offer.batch_id, "taken away")
        with pytest.raises(LostOwnership):
            job.advance(Stage.ARCHIVE)
    assert site.archived() == {}
    site.run_all()
    assert site.feed() == [("run1", "completed")]


@pytest.mark.parametrize("off_by", [-LEASE, 2 * LEASE])
def test_a_lease_that_ended_is_dead_and_so_is_one_from_a_wrong_clock(site: Site, off_by: timedelta) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    with work(site.project, offer.batch_id, "run-1"):
        assert not open_batches(site.project, "incoming")[0].lease_is_dead
        with writing(site.project.engine) as connection:
            connection.execute(update(Batch).values(lease_until=datetime.now(UTC) + off_by))
        assert open_batches(site.project, "incoming")[0].lease_is_dead


def test_a_batch_that_died_is_halved_and_a_lone_group_has_used_an_attempt(make: SiteMaker) -> None:
    site = make(service={"single_group_runs": "0"})
    for number in range(3):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.settle()
    (offer,) = site.claim()
    give_back(site.project, offer.batch_id, "killed", died=True)
    halves = open_batches(site.project, "incoming")
    assert sorted(half.offer.size for half in halves) == [1, 2]
    alone = next(half.offer for half in halves if half.offer.size == 1)
    give_back(site.project, alone.batch_id, "killed", died=True)
    assert site.group(alone.group_key or "").attempts == 1
    assert "the process died" in site.component(f"{alone.group_key}.dat").error_message


def test_few_ready_groups_get_a_batch_each_and_a_burst_is_packed(make: SiteMaker) -> None:
    site = make(service={"single_group_runs": "2", "groups_per_run": "3"})
    for number in range(2):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.settle()
    assert [offer.group_key for offer in site.claim()] == ["run0", "run1"]
    for number in range(2, 7):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.settle()
    assert [offer.size for offer in site.claim()] == [3]
    assert [offer.size for offer in site.claim()] == [2]


def test_work_that_is_told_to_stop_gives_its_groups_back(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    with work(site.project, offer.batch_id, "run-1", stop=lambda: True) as job:
        job.advance(Stage.ARCHIVE)
        assert job.finish().groups[0].outcome is Outcome.GIVEN_BACK
    assert site.tick().ready == 1
    site.run_all()
    assert site.group("run1").complete


def test_an_archive_that_vanished_is_waited_for_without_using_attempts(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    site.archive.rename(site.directory / "unmounted")
    site.deliver("run2.dat", "run2.json")
    site.one_pass()
    assert site.statuses()["run2.dat"] == "retry_pending"
    assert site.component("run2.dat").retry_count == 0
    assert "is it mounted?" in site.component("run2.dat").error_message
    assert not site.archive.exists()
    (site.directory / "unmounted").rename(site.archive)
    site.tick(3600)
    site.run_all()
    assert site.group("run2").complete


def test_an_archive_that_was_moved_by_configuration_is_not_taken_for_gone(
    make: SiteMaker, tmp_path: Path
) -> None:
    before = make()
    before.deliver("run1.dat", "run1.json")
    before.one_pass()
    config = tmp_path / "config.toml"
    config.write_text(config.read_text().replace('"archive"', '"elsewhere"'))
    site = open_site(tmp_path)
    site.now = before.now
    site.deliver("run2.dat", "run2.json")
    site.one_pass()
    site.project.engine.dispose()
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {"run2.dat", "run2.json"}


def test_missing_directories_are_not_made_when_that_is_configured(make: SiteMaker) -> None:
    site = make(archive={"create_directories": "false"})
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert "create_directories is false" in site.component("run1.dat").error_message


def test_reconcile_judges_failed_checks_anew(site: Site) -> None:
    site.deliver("run1.dat", content=b"")
    site.settle()
    assert site.statuses() == {"run1.dat": "integrity_failed"}
    site.set_rules(PAIRS.replace("value = 1", "value = 0"))
    found = reconcile_delivery(site.project, "incoming")
    assert found.seen == 1
    assert site.statuses() == {"run1.dat": "waiting"}


def test_a_preview_says_what_would_happen_and_writes_nothing(site: Site) -> None:
    site.deliver("run1.dat", "run1.json", "run2.dat")
    verdicts = {one.group_key: (one.verdict, one.reason) for one in preview(site.project)}
    assert verdicts == {
        "run1": ("archive", "run1.dat, run1.json to main"),
        "run2": ("waiting", "waits for .json"),
    }
    assert site.statuses() == {}
    assert not site.archive.exists()


def test_every_change_of_status_is_kept(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.history("run1.dat") == [
        (None, "detected", "seen"),
        ("detected", "waiting", "grouped"),
        ("waiting", "archived", "archived"),
    ]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.site import open_site
from carbonation_core.pipeline import Stage, work
site = open_site(Path({directory!r}))
site.settle()
(offer,) = site.claim()
with work(site.project, offer.batch_id, "run-1") as job:
    job.advance(Stage.ROUTE)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_killed_owner_is_known_to_be_dead_at_once(site: Site, tmp_path: Path) -> None:
    site.deliver("run1.dat", "run1.json")
    root = Path(__file__).parents[2]
    code = KILLED.format(directory=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
    assert killed.returncode == -9
    (batch,) = open_batches(site.project, "incoming")
    assert batch.lease_is_dead
    give_back(site.project, batch.offer.batch_id, "its process was killed", died=True)
    site.tick(3600)
    site.run_all()
    assert site.group("run1").complete
