"""What a stat says can always be stored, whatever it is."""

import os

import pytest
from sqlalchemy import select

from carbonation_core.db.engine import reading
from carbonation_core.db.models import FileComponent
from carbonation_core.disk.stamp import EARLIEST, LATEST, Stamp
from tests.core._helpers.reconciling import QUICK, found, reconcile
from tests.site import SINGLE, SiteMaker


def stat_of(mtime_ns: int, ctime_ns: int = 0, device: int = 1, inode: int = 2) -> os.stat_result:
    times = {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns}
    return os.stat_result((0o100644, inode, device, 1, 0, 0, 5, 0, 0, 0), times)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (0, 0),
        (-1, -1),
        (2**63 - 1, 2**63 - 1),
        (2**63, LATEST),
        (2**63 + 10**9, LATEST),
        (-(2**63), EARLIEST),
        (-(2**63) - 1, EARLIEST),
        ((2**63 - 1) * 10**9, LATEST),
    ],
)
def test_times_stay_within_what_a_database_can_hold(said: int, kept: int) -> None:
    assert Stamp.of(stat_of(said)).mtime_ns == kept
    assert Stamp.of(stat_of(0, said)).ctime_ns == kept


@pytest.mark.parametrize(("said", "year"), [(2**80, 2262), (-(2**80), 1677), (0, 1970)])
def test_every_stamp_has_a_date(said: int, year: int) -> None:
    assert Stamp.of(stat_of(said)).written_at.year == year


def test_the_time_of_the_change_tells_files_apart_whose_own_times_are_beyond_all_bounds() -> None:
    assert Stamp.of(stat_of(2**63 + 1, ctime_ns=1)) != Stamp.of(stat_of(2**63 + 2, ctime_ns=2))


def test_a_file_is_the_same_whatever_number_its_file_system_has_here() -> None:
    assert Stamp.of(stat_of(0, device=1)) == Stamp.of(stat_of(0, device=2))


def test_the_largest_inode_fits_its_column() -> None:
    stamp = Stamp.of(stat_of(0, inode=2**64 - 1))
    assert len(stamp.inode) <= FileComponent.__table__.c.inode.type.length  # type: ignore[attr-defined]


@pytest.mark.parametrize("mtime_ns", [2**63 + 10**9, 15_032_385_535 * 10**9, -(2**31) * 10**9, -1])
def test_a_file_of_any_time_is_archived_and_found_there_again(make: SiteMaker, mtime_ns: int) -> None:
    site = make(SINGLE, watch=QUICK)
    site.deliver("odd.dat", "neighbour.dat")
    os.utime(site.incoming / "odd.dat", ns=(mtime_ns, mtime_ns))
    site.one_pass()
    assert site.statuses() == {"odd.dat": "archived", "neighbour.dat": "archived"}
    assert (site.archive / "odd.dat").stat().st_mtime_ns == mtime_ns
    assert len(reconcile(site).findings) == 0
    assert site.tick().changed == 0


def test_archived_and_unknown_files_may_be_given_any_time(make: SiteMaker) -> None:
    site = make(SINGLE, watch=QUICK)
    site.deliver("a.dat")
    site.one_pass()
    (site.archive / "b.dat").write_bytes(b"unknown")
    (site.archive / "a.dat").rename(site.directory / "away")
    reconcile(site)
    (site.directory / "away").rename(site.archive / "a.dat")
    for name in ("a.dat", "b.dat"):
        os.utime(site.archive / name, ns=(2**63, 2**63))

    result = reconcile(site, adopt=True)

    assert {name: kind.value for name, kind in found(result, site.archive).items()} == {
        "a.dat": "returned",
        "b.dat": "adopted",
    }
    with reading(site.project.engine) as connection:
        times = dict(connection.execute(select(FileComponent.filename, FileComponent.mtime_ns)).all())
    assert times["b.dat"] == LATEST
