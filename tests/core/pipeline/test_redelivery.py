"""A file that is delivered again, on a real directory and database."""

import hashlib

import pytest

from carbonation_core.pipeline.work import Outcome
from tests.site import PAIRS, Site, SiteMaker, touch


def test_a_redelivery_replaces_and_is_told_again(site: Site) -> None:
    site.deliver("run1.dat", "run1.json", content=b"first")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"second")
    site.one_pass()
    assert site.archived() == {"run1.dat": b"second", "run1.json": b"first"}
    assert site.feed() == [("run1", "completed"), ("run1", "replaced")]
    superseded = [copy for copy in site.copies() if copy.superseded_at is not None]
    assert [copy.digest for copy in superseded] == [hashlib.sha256(b"first").hexdigest()]


def test_the_same_bytes_again_are_recorded_and_nothing_is_done(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"bytes")
    site.one_pass()
    assert site.reports[0].groups[0].outcome is Outcome.UNCHANGED
    assert site.feed() == [("run1", "completed")]
    assert len(site.copies()) == 2


def test_a_redelivery_that_is_routed_elsewhere_removes_the_old_copy(make: SiteMaker) -> None:
    site = make(
        PAIRS + '[pairs.metadata]\nextract = "sizes"\n', archive={"destination": '"archive/{category}"'}
    )
    site.deliver("run1.dat", content=b"red")
    site.deliver("run1.json")
    site.one_pass()
    assert set(site.archived()) == {"red/run1.dat", "red/run1.json"}
    touch(site.incoming / "run1.dat", b"blue")
    touch(site.incoming / "run1.json", b"{}")
    site.one_pass()
    assert set(site.archived()) == {"blue/run1.dat", "blue/run1.json"}


@pytest.mark.parametrize(
    ("policy", "content", "status"),
    [("ignore", b"first", "archived"), ("error", b"first", "failed"), ("version", b"first", "archived")],
)
def test_what_a_redelivery_policy_leaves_in_place(
    make: SiteMaker, policy: str, content: bytes, status: str
) -> None:
    site = make(watch={"redelivery": f'"{policy}"'})
    site.deliver("run1.dat", "run1.json", content=b"first")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"second")
    site.one_pass()
    assert site.archived()["run1.dat"] == content
    assert site.statuses()["run1.dat"] == status
    assert site.archived().get("run1.v2.dat") == (b"second" if policy == "version" else None)


@pytest.mark.parametrize(("policy", "left"), [("replace", False), ("ignore", True), ("error", True)])
def test_a_move_never_removes_bytes_that_it_did_not_archive(make: SiteMaker, policy: str, left: bool) -> None:
    site = make(watch={"redelivery": f'"{policy}"'}, archive={"action": '"move"'})
    site.deliver("run1.dat", "run1.json", content=b"first")
    site.one_pass()
    site.deliver("run1.dat", content=b"second")
    for _ in range(3):
        site.one_pass()
    assert (site.incoming / "run1.dat").exists() is left
    assert site.archived()["run1.dat"] == (b"first" if left else b"second")
    assert site.reports == []
    if left:
        assert f'redelivery = "{policy}"' in site.component("run1.dat").error_message
