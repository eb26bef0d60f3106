"""What an archive cannot show for sure changes nothing: mounts that are gone, mass losses."""

import os
import shutil

import pytest

from carbonation_core.errors import ScanError
from carbonation_core.reconcile.findings import Kind, too_much_lost
from tests import databases
from tests.core._helpers.reconciling import QUICK, reconcile
from tests.site import Site, SiteMaker

pytestmark = databases.one  # what the disk refuses

IS_ROOT = os.geteuid() == 0


def archive_many(site: Site, number: int) -> None:
    site.deliver(*(f"f{one:02}.dat" for one in range(number)))
    site.one_pass()


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


@databases.each
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
