"""An archive is reconciled while batches work in it."""

from pathlib import Path

import pytest
from sqlalchemy import update

from carbonation_core.db.engine import writing
from carbonation_core.db.models import Batch, Group
from carbonation_core.disk import transfer
from carbonation_core.pipeline.claim import claim
from carbonation_core.pipeline.work import Stage, work
from carbonation_core.reconcile import archive as module
from carbonation_core.reconcile.archive import ArchiveReconciliation
from carbonation_core.reconcile.findings import Finding, Findings, Kind
from tests.core._helpers.reconciling import QUICK, between, found, reconcile
from tests.site import Site, SiteMaker, touch


def the_reason(result: ArchiveReconciliation) -> str:
    (one,) = result.findings
    return one.reason


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
