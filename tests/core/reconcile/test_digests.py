"""Copies without a digest, as an import leaves them: read by a reconcile, or by whoever needs one."""

import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import update

from carbonation_core.db.engine import writing
from carbonation_core.db.models import ArchiveCopy, FileComponent
from carbonation_core.reconcile import digests
from carbonation_core.reconcile.findings import Kind
from tests import databases
from tests.core._helpers.reconciling import found, reconcile
from tests.site import Site, SiteMaker, touch

pytestmark = databases.one
BYTES = hashlib.sha256(b"bytes").hexdigest()


def forget(site: Site) -> None:
    with writing(site.project.engine) as connection:
        connection.execute(update(ArchiveCopy).values(digest=None, mtime_ns=0))
        connection.execute(update(FileComponent).values(digest=None))


@databases.each
def test_a_reconcile_reads_what_has_no_digest(full: Site) -> None:
    mtimes = [copy.mtime_ns for copy in full.copies()]
    forget(full)
    trial = reconcile(full, dry_run=True)
    assert (trial.read, trial.remarks) == (0, ())
    result = reconcile(full)
    assert found(result, full.archive) == {}
    assert result.remarks == ("4 digests read",)
    assert [(copy.digest, copy.mtime_ns) for copy in full.copies()] == [(BYTES, time) for time in mtimes]
    assert full.component("run1.dat").digest == BYTES
    assert reconcile(full).remarks == ()


def test_what_is_not_there_or_has_another_size_is_left_and_told(full: Site) -> None:
    forget(full)
    (full.archive / "run1.dat").unlink()
    (full.archive / "run2.dat").write_bytes(b"other bytes")
    result = reconcile(full)
    assert found(result, full.archive) == {"run1.dat": Kind.MISSING, "run2.dat": Kind.MISSING}
    assert result.remarks == ("2 digests read, 2 left for the next time",)
    (full.archive / "run1.dat").write_bytes(b"bytes")  # of another time, which alone decides nothing
    assert found(reconcile(full), full.archive)["run1.dat"] is Kind.RETURNED
    assert full.component("run1.dat").digest == BYTES


def test_reading_ends_in_time_and_goes_on_the_next(full: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(full)
    seconds = iter([0.0, 0.0, *[timedelta(days=1).total_seconds()] * 9])
    with monkeypatch.context() as patch:
        patch.setattr(digests.time, "monotonic", lambda: next(seconds))
        assert reconcile(full).remarks == ("1 digest read, 3 left for the next time",)
    assert reconcile(full).remarks == ("3 digests read",)


@pytest.mark.parametrize(
    ("content", "feed"),
    [(b"bytes", [("a", "completed")]), (b"other", [("a", "completed"), ("a", "replaced")])],
)
def test_a_redelivery_is_compared_with_the_copy_itself(
    make: SiteMaker, content: bytes, feed: list[tuple[str, str]]
) -> None:
    site = make()
    site.deliver("a.dat", "a.json")
    site.one_pass()
    forget(site)
    touch(site.incoming / "a.dat", content)
    site.one_pass()
    assert site.feed() == feed
    assert site.statuses() == {"a.dat": "archived", "a.json": "archived"}
    assert site.archived() == {"a.dat": content, "a.json": b"bytes"}
    assert [copy.path for copy in site.copies() if copy.superseded_at] == (
        [] if content == b"bytes" else [str(site.archive / "a.dat")]
    )
