"""History is forgotten by the site whose it is."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, insert, select, update

from carbonation_core.db.engine import reading, writing
from carbonation_core.db.models import Batch, ExpectedArrival, StatusChange, WatchOwner
from carbonation_core.lifecycle import ArrivalState
from carbonation_core.project import Project
from carbonation_core.purge import Purged, purge_history
from tests.site import SINGLE, Site, SiteMaker


@pytest.fixture
def north(make: SiteMaker) -> Site:
    """A site with a file archived, and an arrival that came, a year and more ago."""
    site = make(SINGLE, service={"site": '"north"'})
    site.deliver("a")
    site.one_pass()
    with writing(site.project.engine) as connection:
        came = {"watch_name": "incoming", "at": site.now, "state": ArrivalState.UNEXPECTED}
        connection.execute(insert(ExpectedArrival).values(came))
    site.now += timedelta(days=366)
    return site


def at_south(site: Site) -> Project:
    """The same database, as another site has it that keeps history for a month."""
    updated = {"site": "south", "history_retention": timedelta(days=30)}
    service = site.project.config.service.model_copy(update=updated)
    config = site.project.config.model_copy(update={"service": service, "watch": ()})
    return replace(site.project, config=config)


def history(site: Site) -> list[int]:
    """How many changes of status, batches and arrivals there are."""
    with reading(site.project.engine) as connection:
        return [
            connection.execute(select(func.count()).select_from(model)).scalar_one()
            for model in (StatusChange, Batch, ExpectedArrival)
        ]


def test_a_site_forgets_no_history_of_another_sites_watches(north: Site) -> None:
    before = history(north)
    assert purge_history(at_south(north)) == Purged(0, 0, 0)
    assert history(north) == before


def test_a_site_forgets_the_history_of_its_own_watches(north: Site) -> None:
    assert purge_history(north.project) == Purged(changes=2, batches=1, arrivals=1)
    assert history(north) == [1, 0, 0], "each file keeps its last change"


def test_a_watch_that_is_configured_no_more_is_its_sites_still(north: Site) -> None:
    config = north.project.config.model_copy(update={"watch": ()})
    assert purge_history(replace(north.project, config=config)).changes == 2


def test_the_history_of_a_watch_that_is_nobodys_is_anybodys_to_forget(north: Site) -> None:
    with writing(north.project.engine) as connection:
        connection.execute(delete(WatchOwner))
    assert purge_history(at_south(north)) == Purged(changes=2, batches=1, arrivals=1)


def test_a_watch_brings_its_history_to_the_site_that_adopts_it(north: Site) -> None:
    with writing(north.project.engine) as connection:
        connection.execute(update(WatchOwner).values(site="south"))
    assert purge_history(north.project) == Purged(0, 0, 0)
    assert purge_history(at_south(north)).changes == 2
