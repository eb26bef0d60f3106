"""What lies in an archive against what the database says of it, on real directories."""

import os
from dataclasses import replace
from pathlib import Path

from sqlalchemy import update

from carbonation_core.db.engine import writing
from carbonation_core.db.models import FileComponent
from carbonation_core.reconcile.archive import ArchiveReconciliation, reconcile_archive
from carbonation_core.reconcile.findings import Finding, Findings, Kind
from tests import databases
from tests.core._helpers.reconciling import QUICK, found, reconcile
from tests.site import Site, SiteMaker, touch


def the_reason(result: ArchiveReconciliation) -> str:
    (one,) = result.findings
    return one.reason


def test_an_archive_that_agrees_is_left_as_it_is(full: Site) -> None:
    before = full.history("run1.dat")

    result = reconcile(full)

    assert (result.compared, result.expected, len(result.findings)) == (4, 4, 0)
    assert full.history("run1.dat") == before


def test_what_vanished_is_missing_and_what_is_back_is_archived(full: Site) -> None:
    away = full.directory / "away"
    (full.archive / "run1.dat").rename(away)

    assert found(reconcile(full), full.archive) == {"run1.dat": Kind.MISSING}

    lost = full.component("run1.dat")
    assert (lost.status, lost.in_archive) == ("missing", False)
    assert lost.error_message == f"{full.archive / 'run1.dat'} is not there"
    assert found(reconcile(full), full.archive) == {"run1.dat": Kind.STILL_MISSING}

    away.rename(full.archive / "run1.dat")
    assert found(reconcile(full), full.archive) == {"run1.dat": Kind.RETURNED}

    back = full.component("run1.dat")
    assert (back.status, back.in_archive, back.error_message) == ("archived", True, None)
    assert full.history("run1.dat")[-2:] == [
        ("archived", "missing", "lost"),
        ("missing", "archived", "found"),
    ]
    assert len(reconcile(full).findings) == 0


def test_a_dry_run_says_the_same_and_changes_nothing(full: Site) -> None:
    (full.archive / "run1.dat").unlink()
    (full.archive / "stray.dat").write_bytes(b"?")

    said = reconcile(full, dry_run=True, adopt=True)

    assert found(said, full.archive) == {"run1.dat": Kind.MISSING, "stray.dat": Kind.ADOPTED}
    assert set(full.statuses().values()) == {"archived"}
    assert full.group_keys() == {"run1", "run2"}
    assert len(full.copies()) == 4


def test_a_file_of_another_size_is_not_what_was_archived(full: Site) -> None:
    (full.archive / "run1.dat").chmod(0o600)
    (full.archive / "run1.dat").write_bytes(b"cut")

    result = reconcile(full)

    assert found(result, full.archive) == {"run1.dat": Kind.MISSING}
    assert the_reason(result) == "has 3 bytes, not 5"


@databases.one
def test_a_directory_in_a_file_s_place_is_no_file(full: Site) -> None:
    (full.archive / "run1.dat").unlink()
    (full.archive / "run1.dat").mkdir()

    assert the_reason(reconcile(full)) == "is not a file"


def test_of_a_file_restored_with_another_time_the_bytes_decide(full: Site) -> None:
    path = full.archive / "run1.dat"
    path.unlink()
    reconcile(full)

    path.write_bytes(b"other")
    result = reconcile(full)
    assert the_reason(result) == "is there with other bytes than were archived"
    assert full.statuses()["run1.dat"] == "missing"

    path.write_bytes(b"bytes")
    assert found(reconcile(full), full.archive) == {"run1.dat": Kind.RETURNED}
    assert full.statuses()["run1.dat"] == "archived"


def test_a_missing_file_that_is_delivered_again_is_archived_again(full: Site) -> None:
    (full.archive / "run1.dat").unlink()
    reconcile(full)

    touch(full.incoming / "run1.dat", b"bytes")
    full.one_pass()

    assert full.statuses()["run1.dat"] == "archived"
    assert full.archived()["run1.dat"] == b"bytes"
    assert len(reconcile(full).findings) == 0


def test_a_missing_file_that_is_archived_elsewhere_is_missed_no_more(make: SiteMaker) -> None:
    site = make(
        '[single.metadata]\nextract = "sizes"\n',
        archive={"destination": '"archive/{category}"'},
        watch=QUICK,
    )
    site.deliver("a.dat", content=b"one")
    site.deliver("b.dat", content=b"two")
    site.one_pass()
    (site.archive / "one" / "a.dat").unlink()
    reconcile(site)

    touch(site.incoming / "a.dat", b"three")
    site.one_pass()

    assert sorted(site.archived()) == ["three/a.dat", "two/b.dat"]
    assert len(reconcile(site).findings) == 0


def test_an_earlier_version_that_vanished_is_said_and_the_newest_stays_archived(make: SiteMaker) -> None:
    site = make("[single]\n", watch={**QUICK, "redelivery": '"version"'})
    site.deliver("a.dat")
    site.one_pass()
    touch(site.incoming / "a.dat", b"other bytes")
    site.one_pass()
    assert set(site.archived()) == {"a.dat", "a.v2.dat"}

    (site.archive / "a.dat").unlink()

    assert found(reconcile(site), site.archive) == {"a.dat": Kind.EARLIER}
    assert site.statuses() == {"a.dat": "archived"}


@databases.one
def test_a_dangling_symlink_counts_as_missing(make: SiteMaker) -> None:
    site = make("[single]\n", archive={"action": '"symlink"'})
    site.deliver("a.dat", "b.dat")
    site.one_pass()
    (site.incoming / "a.dat").unlink()

    result = reconcile(site)

    assert found(result, site.archive) == {"a.dat": Kind.MISSING}
    assert the_reason(result) == "is a symlink that leads nowhere"


def test_unknown_files_are_told_wherever_they_lie(full: Site) -> None:
    (full.archive / "deep" / "er").mkdir(parents=True)
    for name in ("stray.dat", "deep/er/.hidden", os.fsdecode(b"deep/\xff.dat")):
        (full.archive / name).write_bytes(b"?")
    (full.archive / "way").symlink_to(full.directory / "incoming")

    assert found(reconcile(full), full.archive) == {
        "stray.dat": Kind.UNKNOWN,
        "deep/er/.hidden": Kind.UNKNOWN,
        "deep/\\xff.dat": Kind.UNKNOWN,
    }


def test_a_file_of_another_archive_in_the_same_tree_is_known(make: SiteMaker) -> None:
    inner = '[[archive]]\nname = "inner"\ndestination = "archive/inner"\n'
    site = make(
        '[single]\narchive = "main"\n[[single.routing]]\nmatch = "*.inner"\narchive = "inner"\n', more=inner
    )
    site.deliver("a.dat", "b.inner")
    site.one_pass()
    assert set(site.archived()) == {"a.dat", "inner/b.inner"}

    assert len(reconcile(site).findings) == len(reconcile(site, "inner").findings) == 0


def test_temporary_files_are_ours_while_their_batch_is_open(full: Site) -> None:
    full.deliver("run3.dat", "run3.json")
    full.settle()
    (offer,) = full.claim()
    ours = full.archive / f".carbonation-{offer.batch_id}-5"
    ended = full.archive / ".carbonation-0123456789abcdef-5"
    ours.touch()
    ended.touch()

    assert found(reconcile(full, adopt=True), full.archive) == {ended.name: Kind.LEFT_OVER}


def test_findings_are_kept_in_order_however_many(tmp_path: Path) -> None:
    findings = Findings()
    for number in range(20_000):
        findings.add(Finding(Kind.UNKNOWN, f"/archive/\\xff{number:05}" + "ä" * 50))

    assert len(findings) == findings.tally[Kind.UNKNOWN] == 20_000
    assert [one.path[13:18] for one in findings][::9999] == ["00000", "09999", "19998"]
    assert next(iter(findings)) == next(iter(findings))


@databases.one
def test_progress_tells_how_far_it_has_come(full: Site) -> None:
    told: list[tuple[str, int, int | None]] = []

    reconcile(full, workers=1, progress=lambda *said: told.append(said))

    assert told == [("compared", 0, 4), ("compared", 4, 4), ("walked", 4, None)]


def test_a_component_of_a_watch_that_is_configured_no_more_is_looked_after(full: Site) -> None:
    with writing(full.project.engine) as connection:
        connection.execute(update(FileComponent).values(watch_name="former"))
    (full.archive / "run1.dat").unlink()

    assert reconcile(full).number(Kind.MISSING) == 1


def test_what_another_site_brought_is_left_to_it(full: Site) -> None:
    """Its archive may have the same name and lie on another disk, where nothing of ours is."""
    service = full.project.config.service.model_copy(update={"site": "elsewhere"})
    config = full.project.config.model_copy(update={"service": service})
    (full.archive / "run1.dat").unlink()

    theirs = reconcile_archive(replace(full.project, config=config), "main")

    assert (theirs.compared, theirs.expected, theirs.left) == (0, 0, 4)
    assert theirs.remarks == ("4 files of other sites left to them",)
    assert list(theirs.findings) == []  # the three that are there are known, too
    assert full.component("run1.dat").in_archive
    assert found(reconcile(full), full.archive) == {"run1.dat": Kind.MISSING}
