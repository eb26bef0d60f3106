"""Trees deeper than Python's stack are looked at like any other, by everyone who looks."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from carbonation_core.disk import file_system
from carbonation_core.disk.watcher import Watcher
from carbonation_core.names import PATH_MAX
from carbonation_core.reconcile.delivery import reconcile_delivery
from carbonation_core.reports.preview import preview
from tests import databases
from tests.core._helpers.reconciling import QUICK, reconcile
from tests.site import SINGLE, Site, SiteMaker

pytestmark = databases.one  # how trees are walked

DEPTH = sys.getrecursionlimit() + 300
NAME = os.fsdecode(b"\xe9")  # as short as a name can be that is not UTF-8
BELOW = "/".join([NAME] * DEPTH)
SPELLED = "/".join([r"\xe9"] * DEPTH)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """So deep a directory, with a file at its bottom."""
    top = tmp_path_factory.mktemp("deep") / "top"
    bottom = top
    for name in ("", *[NAME] * DEPTH):
        bottom = bottom / name
        bottom.mkdir()
    (bottom / "a.dat").write_bytes(b"bytes")
    yield top
    # What pytest removes it with calls itself for each directory.
    subprocess.run(["rm", "-rf", top], check=True)


@pytest.fixture
def site(make: SiteMaker) -> Iterator[Site]:
    """A recursive watch, and an archive that keeps to its tree."""
    site = make(SINGLE, watch={**QUICK, "recursive": "true"})
    site.archive.mkdir()
    yield site
    subprocess.run(["rm", "-rf", site.archive], check=True)


@contextmanager
def moved(tree: Path, to: Path) -> Iterator[Path]:
    """The tree under another name for a while; the name as it is spelled."""
    tree.rename(to)
    try:
        yield to
    finally:
        to.rename(tree)


def test_a_file_at_the_bottom_is_archived_and_its_neighbours_too(site: Site, tree: Path) -> None:
    site.deliver("neighbour.dat")
    with moved(tree, site.incoming / "top"):
        assert {one.verdict for one in preview(site.project)} == {"archive"}
        site.one_pass()
        assert site.statuses() == {f"top/{SPELLED}/a.dat": "archived", "neighbour.dat": "archived"}
        found = reconcile_delivery(site.project, "incoming")
    assert (found.seen, found.new, found.cleared) == (2, 0, 0)


def test_what_is_found_at_the_bottom_of_an_archive_is_adopted(site: Site, tree: Path) -> None:
    with moved(tree, site.archive / "top"):
        reconcile(site, adopt=True)
    assert site.statuses() == {f"top/{SPELLED}/a.dat": "archived"}


def test_what_changes_at_the_bottom_is_told(site: Site, tree: Path) -> None:
    watcher = Watcher(site.project.config.watch_named("incoming"), 5.0)
    with moved(tree, site.incoming / "top") as top:
        try:
            with watcher.hints() as hints:
                assert hints.everything
            (top / BELOW / "b.dat").touch()
            assert watcher.wait(10)
            with watcher.hints() as hints:
                assert hints.files == {f"top/{SPELLED}/b.dat"}
        finally:
            watcher.stop()
            (top / BELOW / "b.dat").unlink()


def test_a_destination_of_any_depth_is_made(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_system, "sync_directory", lambda _: None)
    file_system.make_directory(str(site.archive / BELOW), 0o750, create=True)
    assert (site.archive / BELOW).is_dir()


def test_what_lies_too_deep_for_a_path_hinders_nobody(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.deliver("neighbour.dat")
    for top in (site.incoming, site.archive):
        here = os.open(top, os.O_RDONLY)
        for _ in range(17):  # of the longest names: beyond PATH_MAX
            os.mkdir("d" * 255, dir_fd=here)
            here, before = os.open("d" * 255, os.O_RDONLY, dir_fd=here), here
            os.close(before)
        os.close(os.open("lost.dat", os.O_CREAT, dir_fd=here))
        os.close(here)
    try:
        watcher = Watcher(site.project.config.watch_named("incoming"), 5.0)
        with watcher.hints() as hints:
            assert (hints.by_events, hints.trouble) == (True, None)
        watcher.stop()
        site.one_pass()
        assert site.statuses() == {"neighbour.dat": "archived"}
        assert reconcile_delivery(site.project, "incoming").seen == 1
        assert len(reconcile(site).findings) == 0
    finally:
        subprocess.run(["rm", "-rf", site.incoming], check=True)
    assert "cannot be looked at: File name too long" in caplog.text
    assert "lies too deep for a path to lead there, and is left out" in caplog.text


def test_a_file_too_deep_for_a_path_hides_none_of_its_neighbours(site: Site) -> None:
    room = PATH_MAX - len(os.fsencode(site.incoming)) - 100
    deep = site.incoming.joinpath(*["d" * 99] * (room // 100))
    deep.mkdir(parents=True)
    (deep / "a").write_bytes(b"bytes")
    site.one_pass()
    here = os.open(deep, os.O_RDONLY)
    os.close(os.open("b" * 255, os.O_CREAT, dir_fd=here))
    os.close(here)
    (deep / "a").unlink()
    assert site.tick().gone == 1
