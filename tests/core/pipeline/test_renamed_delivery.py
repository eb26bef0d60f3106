"""A sender renames its directory after its files were archived: their copies are those of the new names."""

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import select

from carbonation_core.db.engine import reading
from carbonation_core.db.models import FileComponent
from carbonation_core.delivery.observe import observe
from carbonation_core.pipeline.claim import claim
from carbonation_core.reports.explain import explain
from tests import databases
from tests.core._helpers.reconciling import QUICK, found, reconcile
from tests.site import PAIRS, SINGLE, Site, SiteMaker

pytestmark = databases.one  # whose copy lies where

RECURSIVE = {**QUICK, "recursive": "true"}
PAIR = ("in/run1.dat", "in/run1.json")


def archived_from(site: Site, *names: str) -> Site:
    site.deliver(*names)
    site.one_pass()
    assert set(site.statuses().values()) == {"archived"}
    return site


def renamed(site: Site, before: str = "in", after: str = "done") -> None:
    (site.incoming / before).rename(site.incoming / after)
    site.one_pass()


def under_another_name(site: Site, of_site: str | None = None) -> None:
    """Its directory is that of a watch `inbox` now, which is looked at and worked on."""
    config = site.project.config
    watch = config.watch[0].model_copy(update={"name": "inbox"})
    ours = config.service.model_copy(update={"site": of_site})
    site.project = replace(
        site.project, config=config.model_copy(update={"watch": (watch,), "service": ours})
    )
    observe(site.project, "inbox")
    site.tick_clock(3)
    observe(site.project, "inbox")
    for offer in claim(site.project, "inbox", "here"):
        site.run(offer)


@pytest.fixture
def pair(make: SiteMaker) -> Site:
    return archived_from(make(watch=RECURSIVE), *PAIR)


@databases.each
@pytest.mark.parametrize("action", ["copy", "hardlink", "symlink"])
def test_a_renamed_directory_fails_nothing_and_is_the_only_one_that_is_complete(
    make: SiteMaker, action: str
) -> None:
    site = archived_from(make(watch=RECURSIVE, archive={"action": f'"{action}"'}), *PAIR)
    inodes = {path.name: path.stat().st_ino for path in site.archive.iterdir()}

    renamed(site)

    assert site.statuses() == {
        "in/run1.dat": "cleared",
        "in/run1.json": "cleared",
        "done/run1.dat": "archived",
        "done/run1.json": "archived",
    }
    assert site.archived() == {"run1.dat": b"bytes", "run1.json": b"bytes"}
    assert {path.name: path.stat().st_ino for path in site.archive.iterdir()} == inodes
    assert site.feed() == [("in/run1", "completed"), ("in/run1", "retracted"), ("done/run1", "completed")]
    before, after = site.group("in/run1"), site.group("done/run1")
    assert (before.complete, before.archive_path, before.archive_name) == (False, None, None)
    assert (after.complete, after.archive_path) == (True, str(site.archive / "run1.dat"))
    of_new = {site.component(f"done/{name}").id for name in ("run1.dat", "run1.json")}
    assert {copy.component_id for copy in site.copies() if copy.path_key} == of_new


def test_nothing_is_copied_and_no_row_says_so(pair: Site) -> None:
    copies = [(copy.id, copy.path, copy.copied_at) for copy in pair.copies()]
    renamed(pair)
    assert [(copy.id, copy.path, copy.copied_at) for copy in pair.copies()] == copies
    feed = pair.feed()
    assert feed[-1] == ("done/run1", "completed")
    assert found(reconcile(pair), pair.archive) == {}
    assert pair.feed() == feed


def test_both_histories_say_why(pair: Site) -> None:
    renamed(pair)
    told = explain(pair.project, str(pair.incoming / "in" / "run1.dat"))
    (file,) = [file for file in told.groups[0].files if file.path.endswith(".dat")]
    taken, new = pair.archive / "run1.dat", pair.incoming / "done" / "run1.dat"
    assert f'"{new}" brings the same bytes, so that "{taken}" is its copy now' in file.stands
    assert [step.event for step in file.history][-1] == "handed_over"
    assert "brings the same bytes" in told.groups[0].stands

    told = explain(pair.project, str(new))
    (file,) = [file for file in told.groups[0].files if file.path.endswith(".dat")]
    assert file.history[-1].reason == (
        f'as {taken}, taken over from "{pair.incoming / "in" / "run1.dat"}", which left delivery '
        "and had the same bytes"
    )


def test_a_move_takes_over_what_is_delivered_again_under_another_directory(make: SiteMaker) -> None:
    site = archived_from(make(watch=RECURSIVE, archive={"action": '"move"'}), *PAIR)
    shutil.rmtree(site.incoming / "in")
    site.tick()
    site.deliver("done/run1.dat", "done/run1.json")
    site.one_pass()
    assert site.statuses()["done/run1.dat"] == "archived"
    assert list((site.incoming / "done").iterdir()) == []
    assert set(site.archived()) == {"run1.dat", "run1.json"}


def test_a_directory_that_is_renamed_back_has_its_copies_back(pair: Site) -> None:
    renamed(pair)
    renamed(pair, "done", "in")
    assert {
        name: status for name, status in pair.statuses().items() if status == "archived"
    } == dict.fromkeys(PAIR, "archived")
    assert pair.feed()[-2:] == [("done/run1", "retracted"), ("in/run1", "completed")]


def test_where_the_directory_is_no_part_of_the_key_the_group_stays_complete(make: SiteMaker) -> None:
    rules = PAIRS.replace('group_by = "stem"', 'group_by = "stem"\nacross_directories = true')
    site = archived_from(make(rules, watch=RECURSIVE), *PAIR)
    renamed(site)
    assert site.statuses()["done/run1.dat"] == site.statuses()["done/run1.json"] == "archived"
    assert site.group("run1").complete
    assert site.group("run1").archive_path == str(site.archive / "run1.dat")
    assert site.feed() == [("run1", "completed"), ("run1", "updated")]


def test_no_version_is_made_of_the_same_bytes(make: SiteMaker) -> None:
    site = make(SINGLE, watch=RECURSIVE, archive={"on_conflict": '"version"'})
    archived_from(site, "a/x.dat", "b/x.dat")
    renamed(site, "b", "c")
    assert set(site.archived()) == {"x.dat", "x.v2.dat"}
    assert site.statuses() == {"a/x.dat": "archived", "b/x.dat": "cleared", "c/x.dat": "archived"}


@databases.each
def test_versions_of_a_file_go_with_it(make: SiteMaker) -> None:
    site = archived_from(make(SINGLE, watch={**RECURSIVE, "redelivery": '"version"'}), "in/x.dat")
    site.deliver("in/x.dat", content=b"the second")
    site.one_pass()
    assert site.archived() == {"x.dat": b"bytes", "x.v2.dat": b"the second"}
    renamed(site)
    assert site.statuses() == {"in/x.dat": "cleared", "done/x.dat": "archived"}
    assert site.archived() == {"x.dat": b"bytes", "x.v2.dat": b"the second"}
    assert {copy.component_id for copy in site.copies()} == {site.component("done/x.dat").id}


@databases.each
def test_a_copy_that_is_gone_is_made_again_in_its_place(pair: Site) -> None:
    (pair.archive / "run1.dat").unlink()
    reconcile(pair)
    assert pair.statuses()["in/run1.dat"] == "missing"
    renamed(pair)
    assert set(pair.archived()) == {"run1.dat", "run1.json"}
    assert pair.statuses()["done/run1.dat"] == "archived"
    assert pair.feed()[-1] == ("done/run1", "completed")


def _other_bytes(site: Site) -> None:
    shutil.rmtree(site.incoming / "in")
    site.deliver("done/run1.dat", "done/run1.json", content=b"others")


def _beside_it(site: Site) -> None:
    shutil.copytree(site.incoming / "in", site.incoming / "done")


@pytest.mark.parametrize("deliver", [_other_bytes, _beside_it])
def test_other_bytes_and_what_is_still_in_delivery_take_nothing_over(
    pair: Site, deliver: Callable[[Site], None]
) -> None:
    deliver(pair)
    pair.one_pass()
    said = pair.component("done/run1.dat").error_message
    assert said.endswith('" is taken by another delivered file; on_conflict = "error"')
    assert pair.statuses()["in/run1.dat"] == "archived"
    assert pair.feed() == [("in/run1", "completed")]


def test_of_a_group_that_is_renamed_in_part_the_rest_stays_where_it_is(make: SiteMaker) -> None:
    rules = PAIRS.replace("[pairs.completeness]", '[pairs.completeness]\non_timeout = "archive_partial"')
    site = archived_from(make(rules, watch=RECURSIVE), *PAIR)
    (site.incoming / "done").mkdir()
    (site.incoming / "in" / "run1.json").rename(site.incoming / "done" / "run1.json")
    site.settle()
    site.tick(3 * 3600)
    site.run_all()
    assert site.statuses() == {
        "in/run1.dat": "archived",
        "in/run1.json": "cleared",
        "done/run1.json": "archived",
    }
    group = site.group("in/run1")
    assert (group.complete, group.archive_path) == (False, str(site.archive / "run1.dat"))
    assert site.feed()[1:] == [("in/run1", "retracted"), ("done/run1", "completed")]


def test_a_watch_that_is_renamed_has_its_copies(make: SiteMaker) -> None:
    site = archived_from(make(watch=QUICK), "run1.dat", "run1.json")
    under_another_name(site)

    with reading(site.project.engine) as connection:
        rows = connection.execute(select(FileComponent.__table__)).all()
    stand = {(row.watch_name, row.filename): (row.status, row.in_delivery) for row in rows}
    assert stand == {
        ("incoming", "run1.dat"): ("cleared", False),
        ("incoming", "run1.json"): ("cleared", False),
        ("inbox", "run1.dat"): ("archived", True),
        ("inbox", "run1.json"): ("archived", True),
    }
    assert set(site.archived()) == {"run1.dat", "run1.json"}
    assert len(site.copies()) == 2
    assert site.feed() == [("run1", "completed"), ("run1", "retracted"), ("run1", "completed")]
    told = explain(site.project, str(site.incoming / "run1.dat")).groups
    (new,) = [file for group in told if group.watch_name == "inbox" for file in group.files[:1]]
    assert new.history[-1].reason.endswith("taken over from watch incoming, which is configured no more")


def test_another_site_takes_nothing_over_though_it_knows_nothing_of_the_watch(make: SiteMaker) -> None:
    site = archived_from(make(watch=QUICK), "run1.dat", "run1.json")
    under_another_name(site, of_site="elsewhere")
    assert site.feed() == [("run1", "completed")]
