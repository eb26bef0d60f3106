"""A group's way from delivery to the archive, on a real directory and database."""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from carbonation_core.logs.records import About
from carbonation_core.pipeline import publish
from carbonation_core.pipeline.work import Outcome, Stage, work
from carbonation_core.reconcile.delivery import reconcile_delivery
from carbonation_core.reports.preview import preview
from tests import databases
from tests.site import PAIRS, Site, SiteMaker, open_site, touch


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


@databases.one
def test_times_are_kept_and_modes_are_the_configured_ones(make: SiteMaker) -> None:
    site = make(archive={"file_mode": "0o444", "dir_mode": "0o700", "destination": '"archive/{group_key}"'})
    site.deliver("run1.dat", "run1.json")
    os.utime(site.incoming / "run1.dat", ns=(1, 86_400_000_000_001))
    site.one_pass()
    archived = (site.archive / "run1" / "run1.dat").stat()
    assert archived.st_mtime_ns == 86_400_000_000_001
    assert archived.st_mode & 0o777 == 0o444
    assert (site.archive / "run1").stat().st_mode & 0o777 == 0o700


def test_a_late_optional_file_is_archived_beside_its_group_and_told_as_an_update(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    site.deliver("run1.txt")
    site.one_pass()
    assert site.statuses()["run1.txt"] == "archived"
    assert site.feed() == [("run1", "completed"), ("run1", "updated")]


@databases.one
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


def test_a_file_to_be_tried_again_waits_for_a_sibling_that_left_meanwhile(site: Site) -> None:
    site.archive.mkdir()
    (site.archive / "run1.dat").write_bytes(b"somebody else's")
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    (site.incoming / "run1.json").unlink()
    site.tick(30_000)
    assert site.statuses() == {"run1.dat": "waiting", "run1.json": "cleared"}
    (site.archive / "run1.dat").unlink()
    site.deliver("run1.json")
    site.one_pass()
    assert site.group("run1").complete


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


@databases.one
def test_a_destination_without_its_key_fails_the_group_with_that_reason(make: SiteMaker) -> None:
    site = make(archive={"destination": '"archive/{category}"'})
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.statuses()["run1.dat"] == "failed"
    assert 'names "category"' in site.component("run1.dat").error_message


@databases.one
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


@databases.one
def test_routing_takes_the_first_match(make: SiteMaker) -> None:
    site = make(
        PAIRS + '[[pairs.routing]]\nmatch = "cal*"\narchive = "other"\n',
        more='[[archive]]\nname = "other"\ndestination = "other"\n',
    )
    site.deliver("cal1.dat", "cal1.json", "run1.dat", "run1.json")
    site.one_pass()
    assert set(site.archived()) == {"run1.dat", "run1.json"}
    assert {path.name for path in (site.directory / "other").iterdir()} == {"cal1.dat", "cal1.json"}


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


@databases.one
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


@databases.one
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


def test_each_decision_is_a_line_of_the_log_that_names_group_watch_and_run(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.deliver("run1.dat", "run1.json", "run2.dat", "run2.json")
    site.settle()
    (site.incoming / "run2.json").write_bytes(b"")
    caplog.handler.addFilter(About())
    with caplog.at_level(logging.INFO, logger="carbonation_core.pipeline.outcomes"):
        for offer in site.claim():
            site.run(offer, "the run")
    told = {
        vars(line)["group_key"]: (vars(line)["watch"], vars(line)["run_id"], line.getMessage())
        for line in caplog.records
        if "group_key" in vars(line)
    }
    assert told["run1"] == (
        "incoming",
        "the run",
        "group run1: archived: 2 files to main; the watch's archive",
    )
    assert told["run2"][:2] == ("incoming", "the run")
    assert told["run2"][2].startswith("group run2: waiting: ")


def test_a_file_that_joins_its_group_during_a_transfer_is_archived_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    original = publish.publish

    def with_a_late_file(transfers: Any) -> Any:
        site.deliver("run1.txt")
        site.settle()
        return original(transfers)

    monkeypatch.setattr(publish, "publish", with_a_late_file)
    site.run_all()
    monkeypatch.undo()
    site.one_pass()
    assert site.statuses()["run1.txt"] == "archived"


@databases.one
@pytest.mark.parametrize(
    ("category", "reason"),
    [
        ("", '"{category}" comes out as nothing'),
        (".", 'has "." in it'),
        ("/etc", '"{category}" comes out as the absolute path "/etc"'),
    ],
)
def test_a_value_that_leaves_out_a_part_of_the_path_fails_its_group_alone(
    make: SiteMaker, category: str, reason: str
) -> None:
    site = make(
        '[single.metadata]\nextract = "sizes"\n', archive={"destination": '"archive/{category}/{watch_name}"'}
    )
    site.deliver("odd.dat", content=f"{category}\n".encode())
    site.deliver("good.dat", content=b"a/b\n")
    assert {one.verdict for one in preview(site.project)} == {"failed", "archive"}
    site.one_pass()
    assert site.statuses() == {"odd.dat": "failed", "good.dat": "archived"}
    assert reason in site.component("odd.dat").error_message
    assert list(site.archived()) == ["a/b/incoming/good.dat"]
