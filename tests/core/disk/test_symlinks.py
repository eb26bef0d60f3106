"""Symlinks that lead in a circle, or through one another without end, cost only themselves."""

import sys
from pathlib import Path

import pytest

from carbonation_core.disk.paths import absolute, real_path, relative_to
from carbonation_core.reconcile.delivery import reconcile_delivery
from tests import databases
from tests.core._helpers.reconciling import QUICK, found, reconcile
from tests.site import SINGLE, Site, SiteMaker

pytestmark = databases.one  # what links do

LONG = sys.getrecursionlimit() + 200


def chain(directory: Path) -> Path:
    """A symlink that leads to `end` through more others than Python's stack has room for."""
    before = "end"
    for number in range(LONG):
        (directory / f"link{number}").symlink_to(before)
        before = f"link{number}"
    return directory / before


@pytest.fixture
def following(make: SiteMaker) -> Site:
    """A watch that follows symlinks, with a good file in it."""
    site = make(SINGLE, watch={**QUICK, "recursive": "true", "symlinks": '"follow_inside"'})
    site.deliver("good.dat")
    return site


def test_a_chain_without_end_leads_nowhere(following: Site) -> None:
    (following.incoming / "links").mkdir()
    last = chain(following.incoming / "links")
    (following.incoming / "links" / "end").write_bytes(b"bytes")
    following.one_pass()
    statuses = following.statuses()
    assert statuses.pop("good.dat") == statuses.pop("links/end") == statuses.pop("links/link0") == "archived"
    assert following.component(f"links/{last.name}").status == "integrity_failed"
    assert following.component(f"links/{last.name}").error_message == "is a symlink that leads nowhere"


def test_circles_in_delivery_lead_nowhere(following: Site) -> None:
    (following.incoming / "circle").symlink_to("circle")
    (following.incoming / "up").symlink_to("..")
    (following.incoming / "below").mkdir()
    (following.incoming / "below" / "again").symlink_to("..")
    following.one_pass()
    reconcile_delivery(following.project, "incoming")
    assert following.statuses()["good.dat"] == "archived"
    assert following.component("circle").error_message == "is a symlink that leads nowhere"


def test_a_circle_in_place_of_an_archived_file_is_no_file(following: Site) -> None:
    following.deliver("below/deep.dat")
    following.one_pass()
    for name in ("good.dat", "deep.dat"):
        (following.archive / name).unlink()
        (following.archive / name).symlink_to(name)
    (following.archive / "stray").symlink_to("stray")
    assert {
        name: kind.value for name, kind in found(reconcile(following, adopt=True), following.archive).items()
    } == {
        "good.dat": "missing",
        "deep.dat": "missing",
        "stray": "unknown",
    }


def test_a_circle_on_the_way_to_files_leads_nowhere(following: Site) -> None:
    following.deliver("below/deep.dat")
    following.one_pass()
    (following.incoming / "below").rename(following.directory / "away")
    (following.incoming / "below").symlink_to("below")
    reconcile_delivery(following.project, "incoming")
    assert not following.component("below/deep.dat").in_delivery


def test_paths_of_circles_and_chains_are_compared_as_they_are_spelled(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    last = chain(tmp_path)
    for path in (tmp_path / "circle", last):
        assert real_path(path / "x") == path / "x"
        assert relative_to(path, str(path / "x")) == "x"
        assert relative_to(tmp_path / "other", str(path / "x")) is None
        assert absolute(f"{path}/../x") == f"{tmp_path}/x"
