"""An archive gets another place or name in config.toml: nothing is put where no archive is any more."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import databases
from tests.core._helpers.reconciling import QUICK, reconcile
from tests.site import Site, SiteMaker

pytestmark = databases.one  # where a late file goes

RETRY = 3 * 60 * 60  # seconds, after which whatever waits for an attempt is due


@pytest.fixture
def site(make: SiteMaker) -> Site:
    site = make(watch=QUICK)
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    return site


def configured(site: Site, **archive: object) -> None:
    """The same site, with another archive in config.toml."""
    config = site.project.config
    other = config.archive[0].model_copy(update=archive)
    watch = config.watch[0].model_copy(update={"archive": other.name})
    site.project = replace(
        site.project, config=config.model_copy(update={"archive": (other,), "watch": (watch,)})
    )


def is_at(site: Site, there: Path) -> None:
    configured(site, base_path=there, destination=str(there))


def test_a_late_file_waits_until_its_group_is_adopted_where_the_archive_is_now(site: Site) -> None:
    there = site.directory / "disk2"
    site.archive.rename(there)
    is_at(site, there)
    site.deliver("run1.txt")

    site.one_pass()

    assert not site.archive.exists()
    waits = site.component("run1.txt")
    assert (waits.status, waits.retry_count) == ("retry_pending", 0)
    gone = f'the group lies in "{site.archive}", which is gone; archive "main" is at "{there}" now'
    assert gone in waits.error_message

    reconcile(site, adopt=True)
    site.tick(RETRY)
    site.run_all()
    assert {path.name for path in there.iterdir()} == {"run1.dat", "run1.json", "run1.txt"}
    assert set(site.statuses().values()) == {"archived"}
    assert not site.archive.exists()


def test_a_late_file_goes_beside_its_group_where_only_later_ones_go_to_another_disk(site: Site) -> None:
    there = site.directory / "disk2"
    is_at(site, there)
    site.deliver("run1.txt", "run2.dat", "run2.json")
    site.one_pass()
    assert set(site.archived()) == {"run1.dat", "run1.json", "run1.txt"}
    assert {path.name for path in there.iterdir()} == {"run2.dat", "run2.json"}


def test_a_group_of_an_archive_that_is_configured_no_more_hinders_no_other(site: Site) -> None:
    configured(site, name="store")
    site.deliver("run1.txt", "run2.dat", "run2.json")
    site.one_pass()
    assert site.group("run2").complete
    waits = site.component("run1.txt")
    assert (waits.status, waits.retry_count) == ("retry_pending", 0)
    assert waits.error_message == 'the group lies in archive "main", which is configured no more'

    configured(site, name="main")
    site.tick(RETRY)
    site.run_all()
    assert site.statuses()["run1.txt"] == "archived"
