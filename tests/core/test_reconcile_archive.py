"""What lies in an archive against what the database says of it, on real directories."""

import os
import shutil
from pathlib import Path

import pytest
from sqlalchemy import update

from carbonation_core import reconcile_archive as module
from carbonation_core import transfer
from carbonation_core.agreement import Finding, Findings, Kind, too_much_lost
from carbonation_core.claim import claim
from carbonation_core.db.engine import writing
from carbonation_core.db.models import Batch, FileComponent, Group
from carbonation_core.errors import ConfigError, QueryError, ScanError
from carbonation_core.pipeline import Stage, work
from carbonation_core.reconcile_archive import (
    ArchiveReconciliation,
    Scope,
    archives_of,
    paths_in,
)
from tests.core.reconciling import QUICK, between, found, reconcile
from tests.site import Site, SiteMaker, touch

IS_ROOT = os.geteuid() == 0


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


def archive_many(site: Site, number: int) -> None:
    site.deliver(*(f"f{one:02}.dat" for one in range(number)))
    site.one_pass()


# What keeps everything as it is.


@pytest.mark.parametrize("gone", ["removed", "empty"])
def test_a_mount_that_is_gone_changes_nothing(full: Site, gone: str) -> None:
    shutil.rmtree(full.archive)
    if gone == "empty":
        full.archive.mkdir()

    with pytest.raises(ScanError, match="is it mounted"):
        reconcile(full, force=True)

    assert set(full.statuses().values()) == {"archived"}


def test_an_archive_that_never_held_anything_may_be_absent(site: Site) -> None:
    assert reconcile(site).compared == 0


@pytest.mark.skipif(IS_ROOT, reason="root reads everything")
def test_a_directory_that_cannot_be_read_changes_nothing(full: Site) -> None:
    (full.archive / "run1.dat").unlink()
    closed = full.archive / "closed"
    closed.mkdir(mode=0)
    try:
        with pytest.raises(ScanError, match="closed: cannot be looked at: Permission denied"):
            reconcile(full)
    finally:
        closed.chmod(0o700)
    assert set(full.statuses().values()) == {"archived"}


def test_an_error_while_listing_changes_nothing(full: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (full.archive / "run1.dat").unlink()
    (full.archive / "bad").mkdir()
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("/bad"):
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ScanError, match="bad: cannot be looked at: Input/output error"):
        reconcile(full)
    assert set(full.statuses().values()) == {"archived"}


def test_a_mass_loss_is_refused_until_it_is_forced(make: SiteMaker) -> None:
    site = make("[single]\n", service={"max_loss": '"20%"', "single_group_runs": "0"}, watch=QUICK)
    archive_many(site, 40)
    for number in range(10):
        (site.archive / f"f{number:02}.dat").unlink()
    (site.archive / "stray.dat").write_bytes(b"?")

    refused = reconcile(site, adopt=True)

    assert refused.refused is not None
    assert refused.refused.startswith('10 of 40 files of archive "main" would be called missing')
    assert "--force" in refused.refused
    assert refused.number(Kind.MISSING) == 10
    assert set(site.statuses().values()) == {"archived"}

    forced = reconcile(site, force=True)
    assert (forced.refused, forced.number(Kind.MISSING)) == (None, 10)
    assert sorted(site.statuses().values()).count("missing") == 10


def test_a_few_missing_files_are_never_a_mass_loss(make: SiteMaker) -> None:
    site = make("[single]\n", service={"single_group_runs": "0"})
    archive_many(site, 10)
    for number in range(9):
        (site.archive / f"f{number:02}.dat").unlink()

    assert reconcile(site).refused is None
    assert sorted(site.statuses().values()).count("missing") == 9


@pytest.mark.parametrize(
    ("missing", "expected", "too_much"),
    [(9, 9, False), (10, 10, True), (10, 99, True), (10, 100, False), (11, 100, True), (0, 0, False)],
)
def test_more_than_the_share_and_at_least_ten_is_too_much(
    missing: int, expected: int, too_much: bool
) -> None:
    assert too_much_lost(missing, expected, 0.1) is too_much


# A part of an archive.


@pytest.fixture
def routed(make: SiteMaker) -> Site:
    """Files in directories by their first line."""
    site = make(
        '[single.metadata]\nextract = "sizes"\n',
        archive={"destination": '"archive/{category}"'},
        watch=QUICK,
    )
    for name in ("a", "b", "A"):
        site.deliver(f"{name}.dat", content=name.encode())
    site.one_pass()
    assert sorted(site.archived()) == ["A/A.dat", "a/a.dat", "b/b.dat"]
    return site


def test_only_the_given_paths_are_looked_at(routed: Site) -> None:
    for name in ("a", "b", "A"):
        (routed.archive / name / f"{name}.dat").unlink()
        (routed.archive / name / "stray").touch()

    scopes = paths_in(routed.project, ["main"], ["a"])
    result = reconcile(routed, scope=scopes["main"])

    assert (result.compared, result.expected) == (1, 3)
    assert found(result, routed.archive) == {"a/a.dat": Kind.MISSING, "a/stray": Kind.UNKNOWN}
    assert routed.statuses() == {"a.dat": "missing", "b.dat": "archived", "A.dat": "archived"}


def test_a_single_file_may_be_given_even_when_it_has_gone(routed: Site) -> None:
    path = routed.archive / "a" / "a.dat"
    path.unlink()

    scopes = paths_in(routed.project, ["main"], [str(path)])

    assert found(reconcile(routed, scope=scopes["main"]), routed.archive) == {"a/a.dat": Kind.MISSING}


def test_a_path_from_here_comes_before_one_below_the_archive(
    routed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(routed.directory)
    expected = {"main": Scope(paths=(str(routed.archive / "a"),))}
    assert paths_in(routed.project, ["main"], ["archive/a"]) == expected
    assert paths_in(routed.project, ["main"], ["a"]) == expected
    assert paths_in(routed.project, ["main"], []) == {"main": Scope()}


def test_a_path_that_leads_to_nothing_is_refused(routed: Site) -> None:
    with pytest.raises(QueryError, match="lies in no archive; they are below"):
        paths_in(routed.project, ["main"], ["/elsewhere"])
    with pytest.raises(QueryError, match="nothing was archived there"):
        paths_in(routed.project, ["main"], ["typo"])


def test_only_files_of_the_watch_are_looked_at(make: SiteMaker) -> None:
    other = '[[watch]]\nname = "other"\npath = "other"\nrules = "single"\narchive = "spare"\n'
    spare = '[[archive]]\nname = "spare"\ndestination = "spare"\n'
    site = make("[single]\n", more=other + spare)
    site.deliver("a.dat", "b.dat")
    site.one_pass()
    (site.archive / "a.dat").unlink()

    assert reconcile(site, scope=Scope(watch_name="other")).compared == 0
    assert set(site.statuses().values()) == {"archived"}
    assert reconcile(site, scope=Scope(watch_name="incoming")).number(Kind.MISSING) == 1
    assert archives_of(site.project) == ["main", "spare"]
    assert archives_of(site.project, "other") == ["spare"]
    with pytest.raises(ConfigError, match='no watch "x"'):
        reconcile(site, scope=Scope(watch_name="x"))


# Beside a running service.


def test_a_file_archived_during_the_walk_is_neither_missing_nor_unknown(
    full: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    full.deliver("run3.dat", "run3.json")
    full.settle()
    (full.archive / "run3.dat").write_bytes(b"bytes")  # seen, and recorded before the end
    (full.archive / "run3.json").write_bytes(b"bytes")
    between(monkeypatch, full.run_all)

    assert len(reconcile(full, adopt=True).findings) == 0
    assert full.statuses()["run3.dat"] == "archived"


def test_a_file_that_is_back_before_it_was_recorded_as_missing_is_not_missing(
    full: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, away = full.archive / "run1.dat", full.directory / "away"
    path.rename(away)
    between(monkeypatch, lambda: away.rename(path))

    assert len(reconcile(full).findings) == 0
    assert full.statuses()["run1.dat"] == "archived"


def test_a_copy_that_was_replaced_meanwhile_is_not_missing(
    routed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(routed.incoming / "a.dat", b"moved on")
    routed.settle()
    real = module._Reconciling._look_for_unknown

    def replaced(self: object, findings: Findings) -> None:
        findings.add(
            Finding(Kind.MISSING, str(routed.archive / "a" / "a.dat"), "is not there", routed.copies()[0].id)
        )
        real(self, findings)  # type: ignore[arg-type]

    monkeypatch.setattr(module._Reconciling, "_look_for_unknown", replaced)
    between(monkeypatch, routed.run_all)

    assert len(reconcile(routed).findings) == 0
    assert routed.statuses()["a.dat"] == "archived"


def test_what_a_batch_works_on_is_left_to_it(full: Site) -> None:
    touch(full.incoming / "run1.dat", b"other bytes")
    full.settle()
    full.claim()
    (full.archive / "run1.dat").unlink()

    assert len(reconcile(full).findings) == 0


def test_a_published_file_that_is_not_recorded_yet_is_not_unknown(full: Site) -> None:
    """As between the renames of a batch and its record."""
    full.deliver("run3.dat", "run3.json")
    full.settle()
    (offer,) = claim(full.project, "incoming", "here")
    with work(full.project, offer.batch_id, "run-3") as job:
        job.advance(Stage.ROUTE)
        (full.archive / "run3.dat").write_bytes(b"bytes")
        assert len(reconcile(full, adopt=True).findings) == 0
    with writing(full.project.engine) as connection:
        assert connection.execute(update(Batch).values(status="ended")).rowcount
        connection.execute(update(Group).values(batch_id=None))

    # Its delivered file will claim it.
    result = reconcile(full, adopt=True)
    assert found(result, full.archive) == {"run3.dat": Kind.UNKNOWN}
    assert "is known: waiting, in delivery" in the_reason(result)


def test_a_superseded_copy_that_is_about_to_be_removed_is_not_unknown(
    routed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(routed.incoming / "a.dat", b"elsewhere")
    routed.settle()
    told: list[int] = []

    def remove_copy(path: str) -> None:
        told.append(len(reconcile(routed, dry_run=True).findings))
        Path(path).unlink()

    monkeypatch.setattr(transfer, "remove_copy", remove_copy)
    routed.run_all()

    assert told == [0]
    assert sorted(routed.archived()) == ["A/A.dat", "b/b.dat", "elsewhere/a.dat"]


def test_a_redelivery_whose_archived_copy_vanished_forgets_it(full: Site) -> None:
    touch(full.incoming / "run1.dat", b"other bytes")
    full.tick()
    (full.archive / "run1.dat").unlink()

    assert found(reconcile(full), full.archive) == {"run1.dat": Kind.MISSING}
    file = full.component("run1.dat")
    assert (file.status, file.in_archive) == ("detected", False)


def test_a_group_that_waits_is_whole_no_more_when_its_archived_file_is_missing(make: SiteMaker) -> None:
    site = make(watch=QUICK)
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    touch(site.incoming / "run1.json", b"other bytes")
    site.settle()
    assert site.group("run1").due_at is not None
    (site.archive / "run1.dat").unlink()

    reconcile(site)
    assert site.group("run1").due_at is None

    (site.archive / "run1.dat").write_bytes(b"bytes")
    reconcile(site)
    assert site.group("run1").due_at is not None


# Size.


def test_findings_are_kept_in_order_however_many(tmp_path: Path) -> None:
    findings = Findings()
    for number in range(20_000):
        findings.add(Finding(Kind.UNKNOWN, f"/archive/\\xff{number:05}" + "ä" * 50))

    assert len(findings) == findings.tally[Kind.UNKNOWN] == 20_000
    assert [one.path[13:18] for one in findings][::9999] == ["00000", "09999", "19998"]
    assert next(iter(findings)) == next(iter(findings))


def test_progress_tells_how_far_it_has_come(full: Site) -> None:
    told: list[tuple[str, int, int | None]] = []

    reconcile(full, workers=1, progress=lambda *said: told.append(said))

    assert told == [("compared", 0, 4), ("compared", 4, 4), ("walked", 4, None)]


def test_a_component_of_a_watch_that_is_configured_no_more_is_looked_after(full: Site) -> None:
    with writing(full.project.engine) as connection:
        connection.execute(update(FileComponent).values(watch_name="former"))
    (full.archive / "run1.dat").unlink()

    assert reconcile(full).number(Kind.MISSING) == 1
