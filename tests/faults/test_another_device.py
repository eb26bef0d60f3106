"""A watch whose file system has another device number, as it has on each host and mount of a network."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from carbonation_core.errors import ScanError
from carbonation_core.names import MARK
from tests import databases
from tests.faults._helpers.disks import mounted, needs, remount, unmount
from tests.site import SINGLE, Site, SiteMaker

pytestmark = databases.one


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The watch of a site that is made later, on a file system of its own."""
    with mounted(tmp_path / "disk", "size=4m") as disk:
        (disk / "incoming").mkdir()
        (disk / "none").mkdir()
        (tmp_path / "incoming").symlink_to(disk / "incoming")
        yield disk


@contextmanager
def elsewhere(site: Site) -> Iterator[None]:
    """All is seen as on a host that numbers the file system otherwise; inodes and times are the same."""
    lower = site.incoming.resolve()
    before = lower.stat()
    layers = f"lowerdir={lower}:{lower.parent / 'none'}"
    command = ["mount", "-t", "overlay", "overlay", "-o", layers, str(lower)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    needs(done.returncode == 0, f"to mount an overlay: {done.stderr.strip()}")
    try:
        after = lower.stat()
        assert (after.st_dev != before.st_dev, after.st_ino) == (True, before.st_ino)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(lower)], check=True)


def test_what_one_host_has_seen_another_archives(make: SiteMaker, disk: Path) -> None:
    site = make(SINGLE)
    site.deliver("a.dat", "b.dat")
    site.settle()
    with elsewhere(site):
        site.run_all()
    assert site.statuses() == {"a.dat": "archived", "b.dat": "archived"}


def test_looks_from_two_hosts_find_the_same_files(make: SiteMaker, disk: Path) -> None:
    site = make(SINGLE)
    site.deliver("a.dat")
    site.one_pass()
    with elsewhere(site):
        assert site.tick(3).changed == 0
    assert site.tick(3).changed == 0
    assert len(site.history("a.dat")) == 3


def test_a_move_is_no_link_though_its_copy_has_the_number_of_its_source(
    make: SiteMaker, disk: Path, tmp_path: Path
) -> None:
    with mounted(tmp_path / "archive", "size=4m") as archive:
        site = make(SINGLE, archive={"action": '"move"'})
        for number in range(10):  # so that the archive has the smaller numbers
            site.deliver("a.dat")
            (site.incoming / "a.dat").rename(site.incoming / f".{number}")
        site.deliver("a.dat")
        wanted = (site.incoming / "a.dat").stat().st_ino
        spare = archive / "spare"
        spare.touch()
        while spare.stat().st_ino < wanted - 1:
            spare.unlink()
            spare.touch()

        site.one_pass()

        assert (archive / "a.dat").stat().st_ino == wanted
        assert site.statuses() == {"a.dat": "archived"}
        assert not (site.incoming / "a.dat").exists()


def test_a_mount_that_has_gone_from_a_watch_changes_nothing(make: SiteMaker, tmp_path: Path) -> None:
    with mounted(tmp_path / "incoming", "size=4m") as disk:
        site = make(SINGLE)
        site.deliver("a.dat", "b.dat")
        site.settle()
        unmount(disk)
        (disk / "c.dat").write_bytes(b"written to the directory below")
        with pytest.raises(ScanError, match="it bears no mark of it; is it mounted"):
            site.tick(3)
        assert site.statuses() == {"a.dat": "waiting", "b.dat": "waiting"}
        assert not (disk / MARK).exists()


def test_a_watch_that_may_not_be_written_bears_no_mark_and_is_known_all_the_same(
    make: SiteMaker, tmp_path: Path
) -> None:
    with mounted(tmp_path / "incoming", "size=4m") as disk:
        site = make(SINGLE)
        site.deliver("a.dat")
        remount(disk, "ro")
        site.one_pass()
        assert site.statuses() == {"a.dat": "archived"}
        assert not (disk / MARK).exists()
        unmount(disk)
        with pytest.raises(ScanError, match="is it mounted"):
            site.tick(3)
        assert site.component("a.dat").in_delivery
