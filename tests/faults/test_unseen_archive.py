"""A batch dies on a host whose archive the one that gives it back does not see."""

from pathlib import Path

import pytest

from carbonation_core.disk.temporary import batch_of
from carbonation_core.pipeline import placement
from tests.faults._helpers.dying import pass_that_dies, recover, work_on_all
from tests.site import Site, SiteMaker

BEFORE_THE_RECORD = [("write", "after"), ("publish", "after"), ("record", "after")]


def site_of(make: SiteMaker, action: str) -> Site:
    return make(
        "[single]\n",
        archive={"action": f'"{action}"', "hosts": '["two"]'},
        service={"single_group_runs": "0", "max_retries": "1000"},
    )


def given_back_where_it_is_not_seen(site: Site) -> None:
    away = site.archive.rename(site.directory / "only-on-two")
    recover(site)
    away.rename(site.archive)


def later_passes(site: Site) -> None:
    """A link of the dead batch that is removed changes its source, which settles anew."""
    for _ in range(2):
        site.tick_clock(1_000_000)
        site.settle()
        work_on_all(site)


def temporaries(archive: Path) -> list[str]:
    return [path.name for path in archive.iterdir() if batch_of(path.name.removesuffix(".before"))]


@pytest.mark.parametrize("action", ["copy", "move", "hardlink"])
@pytest.mark.parametrize(("step", "when"), BEFORE_THE_RECORD)
def test_what_it_left_there_is_taken_back_by_the_next_run(
    make: SiteMaker, action: str, step: str, when: str
) -> None:
    site = site_of(make, action)
    site.deliver("a.dat", content=b"one")
    assert pass_that_dies(site, step, when, 1)
    assert temporaries(site.archive)
    given_back_where_it_is_not_seen(site)
    # What had its name already would be in the way of these.
    (site.incoming / "a.dat").unlink()
    site.deliver("a.dat", content=b"other bytes")
    later_passes(site)
    assert site.statuses() == {"a.dat": "archived"}
    assert site.archived() == {"a.dat": b"other bytes"}
    assert temporaries(site.archive) == []


@pytest.mark.parametrize("action", ["copy", "move", "hardlink"])
def test_and_so_it_is_where_the_file_is_as_it_was(make: SiteMaker, action: str) -> None:
    site = site_of(make, action)
    site.deliver("a.dat", "b.dat", content=b"one")
    assert pass_that_dies(site, "publish", "after", 1)
    given_back_where_it_is_not_seen(site)
    later_passes(site)
    assert set(site.statuses().values()) == {"archived"}
    assert site.archived() == {"a.dat": b"one", "b.dat": b"one"}
    assert temporaries(site.archive) == []
    assert len(site.copies()) == 2


@pytest.mark.parametrize("step", ["publish", "record"])
def test_a_copy_that_it_was_about_to_replace_is_there_until_another_is(make: SiteMaker, step: str) -> None:
    site = site_of(make, "copy")
    site.deliver("a.dat", content=b"one")
    site.one_pass()
    site.deliver("a.dat", content=b"two")
    assert pass_that_dies(site, step, "after", 1)
    given_back_where_it_is_not_seen(site)
    site.deliver("a.dat", content=b"third")
    later_passes(site)
    assert site.archived() == {"a.dat": b"third"}
    assert temporaries(site.archive) == []
    assert [entry for _, entry in site.feed()] == ["completed", "replaced"]


def test_what_a_later_batch_has_recorded_stays(make: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(make, "copy")
    site.deliver("a.dat", content=b"one")
    site.one_pass()
    site.deliver("a.dat", content=b"two")
    assert pass_that_dies(site, "publish", "after", 1)
    given_back_where_it_is_not_seen(site)
    with monkeypatch.context() as as_before:  # as a batch of the release before
        as_before.setattr(placement, "take_up", lambda *_: None)
        later_passes(site)
    assert temporaries(site.archive)
    site.deliver("a.dat", content=b"third")
    assert pass_that_dies(site, "plan", "after", 1)
    assert site.archived() == {"a.dat": b"two"}
