"""What looks at a delivery directory make of its files: settled, waiting, due, gone."""

from datetime import timedelta

import pytest

from carbonation_core.delivery.observe import observe
from carbonation_core.errors import ScanError
from carbonation_core.pipeline.claim import claim
from tests import databases
from tests.site import SINGLE, Site, SiteMaker, touch


@databases.one
def test_a_file_settles_only_after_the_quiet_time_by_our_clock(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    assert site.tick().unsettled == 2
    assert site.tick(1.9).unsettled == 2
    assert site.tick(0.1).unsettled == 0
    assert site.statuses()["run1.dat"] == "waiting"


@databases.one
def test_a_file_that_grows_settles_anew(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.tick()
    touch(site.incoming / "run1.dat", b"more bytes")
    found = site.tick(3)
    assert (found.changed, found.unsettled, found.ready) == (1, 1, 0)
    assert site.tick(2).ready == 1


@databases.one
def test_a_clock_that_goes_back_only_delays(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.tick()
    assert site.tick(-86_400).unsettled == 2
    assert site.tick(2).ready == 1


def test_a_group_waits_for_its_last_component(site: Site) -> None:
    site.deliver("run1.dat")
    assert site.one_pass().ready == 0
    site.deliver("run1.json")
    site.one_pass()
    assert site.group("run1").complete


def test_a_group_waits_for_an_optional_file_that_has_not_settled(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.tick()
    site.now += timedelta(seconds=1)
    site.deliver("run1.txt")
    site.tick()
    assert site.tick(1).ready == 0
    assert site.tick(1).ready == 1
    site.run_all()
    assert set(site.archived()) == {"run1.dat", "run1.json", "run1.txt"}


def test_a_group_that_is_due_waits_again_for_a_file_that_comes_before_it_is_claimed(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    assert site.settle().ready == 1
    site.deliver("run1.txt")
    assert site.tick().ready == 0
    assert site.tick(3).ready == 1
    site.run_all()
    assert set(site.archived()) == {"run1.dat", "run1.json", "run1.txt"}
    assert site.feed() == [("run1", "completed")]


def test_files_of_their_own_are_groups_of_one(make: SiteMaker) -> None:
    site = make(SINGLE, watch={"recursive": "true"})
    site.deliver("a.bin", "deep/b.bin")
    site.one_pass()
    assert site.group_keys() == {"a.bin", "deep/b.bin"}
    assert set(site.archived()) == {"a.bin", "b.bin"}


def test_equal_stems_in_different_directories_are_different_groups(make: SiteMaker) -> None:
    site = make(watch={"recursive": "true"}, archive={"destination": '"archive/{group_key}"'})
    site.deliver("site_a/run1.dat", "site_a/run1.json", "site_b/run1.dat", "site_b/run1.json")
    site.one_pass()
    assert site.group_keys() == {"site_a/run1", "site_b/run1"}
    assert len(site.archived()) == 4


def test_a_second_look_at_the_same_tree_changes_nothing(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    before = (site.archived(), site.feed(), site.history("run1.dat"))
    site.one_pass()
    assert site.reports == []
    assert (site.archived(), site.feed(), site.history("run1.dat")) == before


def test_two_watches_of_one_directory_take_what_their_patterns_say(make: SiteMaker) -> None:
    other = """
        [[watch]]
        name = "other"
        path = "incoming"
        rules = "single"
        archive = "other"
        patterns = ["*.txt", "both.*"]
        [[archive]]
        name = "other"
        destination = "other"
    """
    site = make(SINGLE, watch={"patterns": '["*.dat"]'}, more=other)
    site.deliver("a.dat", "a.txt", "both.dat", "neither")
    for name in ("incoming", "other"):
        observe(site.project, name)
    site.tick_clock(3)
    for name in ("incoming", "other"):
        observe(site.project, name)
        for offer in claim(site.project, name, "here"):
            site.run(offer)
    assert {path.name for path in site.archive.iterdir()} == {"a.dat", "both.dat"}
    assert {path.name for path in (site.directory / "other").iterdir()} == {"a.txt", "both.dat"}
    (site.incoming / "a.txt").unlink()
    assert observe(site.project, "incoming").gone == 0
    assert observe(site.project, "other").gone == 1


def test_plugin_groups_leave_alone_what_has_no_key_and_try_again_what_raised(make: SiteMaker) -> None:
    rules = '[own.completeness]\ngroup_by = "plugin"\ngroup_function = "by_first_letter"\n'
    site = make(rules, service={"max_retries": "1", "retry_delay": '"1m"'})
    site.deliver("a1", "a2", "x1", "!1")
    site.one_pass()
    assert site.statuses() == {
        "a1": "archived",
        "a2": "archived",
        "x1": "not_selected",
        "!1": "retry_pending",
    }
    assert "cannot say" in site.component("!1").error_message
    site.tick(120)
    site.tick()
    assert site.statuses()["!1"] == "failed"


def test_a_file_that_leaves_is_cleared_and_comes_back(site: Site) -> None:
    site.deliver("run1.dat")
    site.settle()
    (site.incoming / "run1.dat").unlink()
    site.tick()
    assert site.statuses() == {"run1.dat": "cleared"}
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}


def test_an_archived_file_that_leaves_delivery_stays_archived(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    (site.incoming / "run1.dat").unlink()
    site.tick()
    component = site.component("run1.dat")
    assert (component.status, component.in_delivery, component.in_archive) == ("archived", False, True)


@databases.one
def test_a_watch_that_cannot_be_looked_at_clears_nothing(site: Site) -> None:
    site.deliver("run1.dat")
    site.settle()
    site.incoming.rename(site.directory / "elsewhere")
    with pytest.raises(ScanError, match="cannot be looked at"):
        site.tick()
    assert site.statuses() == {"run1.dat": "waiting"}
