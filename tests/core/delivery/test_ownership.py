"""A watch belongs to one site, and to one directory; others conclude nothing."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from carbonation_core.delivery.ownership import adopt, refusals
from carbonation_core.delivery.retry import recheck_rules, retry
from carbonation_core.disk.mark import Directory
from carbonation_core.errors import NotOurs, ScanError
from carbonation_core.lifecycle import FileStatus, GivenBack
from carbonation_core.names import MARK
from carbonation_core.pipeline.claim import give_back, open_batches, recall
from carbonation_core.pipeline.work import work
from carbonation_core.reconcile.delivery import reconcile_delivery
from carbonation_core.reports import heartbeat
from carbonation_core.reports.status import status
from tests import databases
from tests.site import SINGLE, Site, SiteMaker

pytestmark = databases.one

HERE = Directory("a" * 32, "host", "1", "2")


@pytest.fixture
def ours(make: SiteMaker) -> Site:
    return make(SINGLE, service={"site": '"north"'})


def elsewhere(site: Site, name: str, path: Path) -> Site:
    """Another site on the same database, whose watch has the same name and that path."""
    config = site.project.config
    watch = config.watch[0].model_copy(update={"path": path})
    service = config.service.model_copy(update={"site": name})
    config = config.model_copy(update={"watch": (watch,), "service": service})
    path.mkdir(parents=True, exist_ok=True)
    other = Site(path.parent, site.project, site.now)
    other.project = replace(site.project, config=config, clock=lambda: other.now)
    return other


@databases.each
def test_another_site_with_a_watch_of_that_name_changes_nothing(ours: Site, tmp_path: Path) -> None:
    ours.deliver("a", "b")
    ours.settle()
    theirs = elsewhere(ours, "south", tmp_path / "south" / "incoming")
    theirs.deliver("a", content=b"other bytes")

    for look in (theirs.tick, lambda: reconcile_delivery(theirs.project, "incoming")):
        with pytest.raises(NotOurs, match="watch incoming belongs to site north, and this is site south"):
            look()

    assert not (theirs.incoming / MARK).exists()
    assert status(ours.project).problems == ()
    (refused,) = refusals(theirs.project)
    assert refused in status(theirs.project).problems
    assert 'set [service] site = "north"; or take the watch over: carbonation watch adopt incoming' in refused
    ours.run_all()
    assert ours.statuses() == {"a": "archived", "b": "archived"}
    assert ours.archived() == {"a": b"bytes", "b": b"bytes"}


@databases.each
def test_a_watch_that_is_adopted_belongs_to_who_adopted_it(ours: Site, tmp_path: Path) -> None:
    ours.deliver("a")
    ours.one_pass()
    theirs = elsewhere(ours, "south", tmp_path / "south" / "incoming")
    theirs.deliver("b")

    before = adopt(theirs.project, "incoming")

    assert before
    assert before.site == "north"
    with pytest.raises(NotOurs, match="belongs to site south"):
        ours.tick()
    theirs.one_pass()
    assert theirs.statuses()["b"] == "archived"
    assert theirs.component("b").in_delivery
    assert ours.archived() == {"a": b"bytes", "b": b"bytes"}


@databases.each
def test_a_watch_of_a_silent_site_goes_to_another_that_sees_the_same_directory(
    ours: Site, tmp_path: Path
) -> None:
    ours.deliver("a")
    ours.settle()
    heartbeat.begin(ours.project, heartbeat.SERVICE)
    theirs = elsewhere(ours, "south", ours.incoming)
    theirs.now = ours.now + timedelta(seconds=110)
    with pytest.raises(NotOurs):
        theirs.tick()
    theirs.tick_clock(20)
    assert refusals(theirs.project) == []
    theirs.one_pass()
    assert theirs.statuses() == {"a": "archived"}
    with pytest.raises(NotOurs, match="belongs to site south"):
        ours.tick()


def failed(site: Site) -> None:
    """A file of the watch that failed a check."""
    site.set_rules('[single]\n[[single.integrity]]\ntype = "min_size"\nvalue = 2\n')
    site.deliver("small", content=b"x")
    site.settle()
    assert site.statuses() == {"small": "integrity_failed"}


def test_what_failed_at_another_site_is_not_tried_again(ours: Site, tmp_path: Path) -> None:
    failed(ours)
    theirs = elsewhere(ours, "south", tmp_path / "south" / "incoming").project

    for name, key in (("incoming", None), (None, None), (None, "small")):
        with pytest.raises(NotOurs, match="watch incoming belongs to site north, and this is site south"):
            retry(theirs, name, key, FileStatus.INTEGRITY_FAILED)
    with pytest.raises(NotOurs):
        recheck_rules(theirs, "incoming")
    assert ours.statuses() == {"small": "integrity_failed"}

    adopt(theirs, "incoming")
    assert retry(theirs, "incoming", None, FileStatus.INTEGRITY_FAILED) == 1


def test_of_all_watches_those_of_another_site_are_left_alone(ours: Site, tmp_path: Path) -> None:
    failed(ours)
    theirs = elsewhere(ours, "south", tmp_path / "south" / "incoming").project
    second = theirs.config.watch[0].model_copy(update={"name": "second", "path": tmp_path / "second"})
    watches = (*theirs.config.watch, second)
    theirs = replace(theirs, config=theirs.config.model_copy(update={"watch": watches}))

    assert retry(theirs, None, None, FileStatus.INTEGRITY_FAILED) == 0
    assert recheck_rules(theirs).judged_again == {}
    with pytest.raises(NotOurs):
        retry(theirs, None, "small", FileStatus.INTEGRITY_FAILED)
    assert ours.statuses() == {"small": "integrity_failed"}


@databases.each
def test_a_batch_of_another_site_is_left_to_it_unless_its_watch_is_taken_over(
    ours: Site, tmp_path: Path
) -> None:
    ours.deliver("a")
    ours.settle()
    (offer,) = ours.claim()
    service = ours.project.config.service.model_copy(update={"site": "south", "max_retries": 7})
    there = elsewhere(ours, "south", tmp_path / "south" / "incoming").project
    theirs = replace(there, config=there.config.model_copy(update={"service": service}))

    assert recall(theirs) == 0
    assert give_back(theirs, offer.batch_id, "no run came for it") == 0
    with work(ours.project, offer.batch_id, "run-1"):
        assert recall(theirs) == 0  # nor is it waited for
    assert len(open_batches(ours.project, "incoming")) == 1

    adopt(theirs, "incoming")
    assert recall(theirs) == 1
    assert give_back(theirs, offer.batch_id, "no run came for it") == 1


def test_a_site_may_give_back_what_it_has_made_before_another_took_its_watch(
    ours: Site, tmp_path: Path
) -> None:
    ours.deliver("a")
    ours.settle()
    (offer,) = ours.claim()
    adopt(elsewhere(ours, "south", tmp_path / "south" / "incoming").project, "incoming")
    assert give_back(ours.project, offer.batch_id, "its run was cancelled") == 1


def test_what_a_silent_site_had_under_way_may_be_given_back_by_who_sees_its_directory(ours: Site) -> None:
    ours.deliver("a")
    ours.settle()
    (offer,) = ours.claim()
    heartbeat.begin(ours.project, heartbeat.SERVICE)
    theirs = elsewhere(ours, "south", ours.incoming)
    assert give_back(theirs.project, offer.batch_id, "killed", GivenBack.DIED) == 0
    theirs.tick_clock(130)
    assert give_back(theirs.project, offer.batch_id, "killed", GivenBack.DIED) == 1


def test_other_files_are_not_taken_over_however_silent_their_site_is(ours: Site, tmp_path: Path) -> None:
    ours.tick()
    heartbeat.begin(ours.project, heartbeat.SERVICE)
    theirs = elsewhere(ours, "south", tmp_path / "south" / "incoming")
    theirs.tick_clock(86_400)
    with pytest.raises(NotOurs):
        theirs.tick()
    assert len(refusals(theirs.project)) == 1


def test_a_look_at_a_directory_with_another_mark_changes_nothing(ours: Site) -> None:
    ours.deliver("a")
    ours.settle()
    ours.incoming.rename(ours.directory / "away")
    ours.incoming.mkdir()
    (ours.incoming / MARK).write_text("f" * 32 + "\n")

    with pytest.raises(ScanError, match="not the directory that watch incoming had: it bears another mark"):
        ours.tick()
    assert ours.statuses() == {"a": "waiting"}
    assert any("another mark" in problem for problem in status(ours.project).problems)

    adopt(ours.project, "incoming")
    ours.tick()
    assert ours.statuses() == {"a": "cleared"}
    assert status(ours.project).problems == ()


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_mark_that_a_sender_cleans_away_is_put_back(ours: Site, made_anew: bool) -> None:
    ours.deliver("a")
    ours.one_pass()
    mark = (ours.incoming / MARK).read_text()
    if made_anew:
        shutil.rmtree(ours.incoming)
        ours.incoming.mkdir()
    else:
        (ours.incoming / MARK).unlink()
        (ours.incoming / "a").unlink()
    ours.deliver("b")
    ours.one_pass()
    assert (ours.incoming / MARK).read_text() == mark
    assert ours.statuses() == {"a": "archived", "b": "archived"}
    assert not ours.component("a").in_delivery


def test_a_mark_that_was_never_written_to_its_end_is_made_anew(ours: Site) -> None:
    (ours.incoming / MARK).touch()
    ours.tick()
    assert len((ours.incoming / MARK).read_text()) == 33


def test_two_watches_may_have_the_same_directory(make: SiteMaker) -> None:
    second = '[[watch]]\nname = "second"\npath = "incoming"\nrules = "single"\narchive = "main"\n'
    site = make(SINGLE, watch={"patterns": '["*.a"]'}, more=second)
    from carbonation_core.delivery.observe import observe

    site.deliver("x.a")
    site.tick()
    assert observe(site.project, "second").new == 1


def test_a_mark_is_no_delivery_whatever_is_to_be_ignored(make: SiteMaker) -> None:
    site = make(SINGLE, watch={"ignore_patterns": "[]", "recursive": "true"})
    site.deliver("a", f"inner/{MARK}")
    site.one_pass()
    assert site.archived().keys() == {"a"}
    assert site.statuses() == {"a": "archived"}


@pytest.mark.parametrize(
    ("found", "is_still"),
    [
        (HERE, True),
        (replace(HERE, host="other", file_system="7", inode="8"), True),  # as another host sees it
        (replace(HERE, mark="b" * 32), False),
        (replace(HERE, mark=None, inode="8"), True),  # made anew, or cleaned
        (replace(HERE, mark=None, file_system="7"), False),  # its mount has gone
        (replace(HERE, mark=None, host="other"), True),
        (replace(HERE, mark=None, host="other", inode="8"), False),
    ],
)
def test_what_tells_a_directory_from_another_one(found: Directory, is_still: bool) -> None:
    assert found.is_still(HERE) is is_still
