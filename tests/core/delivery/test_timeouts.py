"""Groups that are not whole in time."""

from tests.site import PAIRS, SiteMaker


def test_a_warning_timeout_says_so_once_and_waits_on(make: SiteMaker) -> None:
    site = make(PAIRS.replace("primary", "timeout_minutes = 10\n    primary"))
    site.deliver("run1.dat")
    site.settle()
    site.tick(11 * 60)
    component = site.component("run1.dat")
    assert component.status == "waiting"
    assert component.error_message == "waited 10 minutes for .json"
    assert site.group("run1").deadline_at is None
    site.deliver("run1.json")
    site.one_pass()
    assert site.group("run1").complete


def test_a_skipping_timeout_ends_the_wait_until_a_sibling_arrives(make: SiteMaker) -> None:
    site = make(PAIRS.replace("primary", 'timeout_minutes = 10\n    on_timeout = "skip"\n    primary'))
    site.deliver("run1.dat")
    site.settle()
    site.tick(11 * 60)
    assert site.statuses() == {"run1.dat": "timed_out"}
    assert not site.group("run1").complete
    site.deliver("run1.json")
    site.one_pass()
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}


def test_a_partial_timeout_goes_on_with_what_is_there(make: SiteMaker) -> None:
    site = make(
        PAIRS.replace("primary", 'timeout_minutes = 10\n    on_timeout = "archive_partial"\n    primary')
    )
    site.deliver("run1.dat")
    site.settle()
    site.tick(11 * 60)
    site.run_all()
    assert site.statuses() == {"run1.dat": "archived"}
    site.deliver("run1.json")
    site.one_pass()
    assert site.statuses()["run1.json"] == "archived"
    assert site.feed() == [("run1", "completed"), ("run1", "updated")]


def test_a_group_whose_files_had_left_has_all_its_time_again_when_one_comes_back(make: SiteMaker) -> None:
    site = make(PAIRS.replace("[[pairs.integrity]]", 'on_timeout = "archive_partial"\n[[pairs.integrity]]'))
    site.deliver("run1.dat")
    site.settle()
    (site.incoming / "run1.dat").unlink()
    site.tick(86_400)
    site.deliver("run1.dat")
    site.one_pass()
    assert site.statuses() == {"run1.dat": "waiting"}
    assert site.archived() == {}
