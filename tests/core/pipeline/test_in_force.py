"""A process begins nothing by a configuration that the service of its site has not accepted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from carbonation_core.errors import LostOwnership, Superseded
from carbonation_core.pipeline.claim import claim, is_made_otherwise, recall
from carbonation_core.pipeline.in_force import accept, is_superseded
from carbonation_core.pipeline.work import Stage, work
from carbonation_core.project import Project
from carbonation_core.reports import heartbeat
from carbonation_core.reports.status import service_state, status
from tests.site import SINGLE, Site, SiteMaker


@pytest.fixture
def site(make: SiteMaker) -> Site:
    return make(SINGLE, service={"site": '"north"', "max_retries": "0"}, archive={"on_conflict": '"error"'})


def elsewhere(site: Site, name: str = "elsewhere") -> Project:
    """The project with another destination."""
    there = site.directory / name
    there.mkdir(exist_ok=True)
    config = site.project.config
    archive = config.archive[0].model_copy(update={"destination": str(there), "base_path": there})
    return replace(site.project, config=config.model_copy(update={"archive": (archive,)}))


@contextmanager
def service_of(project: Project) -> Iterator[None]:
    """A service that begins with this project, and ends in good order."""
    accept(project)
    heartbeat.begin(project, heartbeat.SERVICE)
    yield
    heartbeat.end(project, heartbeat.SERVICE)


def failed_batch(site: Site) -> str:
    """A batch whose group failed, as something was in its way that is gone by now."""
    site.archive.mkdir()
    (site.archive / "a.dat").write_bytes(b"in the way")
    site.deliver("a.dat")
    site.settle()
    (offer,) = site.claim()
    site.run(offer)
    assert site.statuses() == {"a.dat": "failed"}
    (site.archive / "a.dat").unlink()
    (site.archive / "not empty").touch()
    return offer.batch_id


def test_nothing_is_claimed_by_a_configuration_that_the_service_has_replaced(site: Site) -> None:
    head = elsewhere(site)
    site.deliver("a.dat")
    site.settle()
    with service_of(head):
        says = "watch incoming: nothing is begun: the service of site north on host .* has accepted another"
        with pytest.raises(Superseded, match=says):
            site.claim()
        (offer,) = claim(head, "incoming", "here")
        site.project = head
        site.run(offer)
    assert site.archived() == {}
    assert (site.directory / "elsewhere" / "a.dat").read_bytes() == b"bytes"


def test_no_batch_is_begun_again_by_a_configuration_that_the_service_has_replaced(site: Site) -> None:
    batch_id = failed_batch(site)
    head = elsewhere(site)
    with service_of(head):
        assert recall(head) == 0
        assert is_made_otherwise(site.project, batch_id)
        says = f"batch {batch_id} is not begun again: the service of site north"
        with (
            pytest.raises(LostOwnership, match=says),
            work(site.project, batch_id, "run-2", again=True),
        ):
            pass
        assert set(site.archived()) == {"not empty"}
        with work(head, batch_id, "run-3", again=True) as job:
            job.advance(Stage.ARCHIVE)
            job.finish()
    assert (site.directory / "elsewhere" / "a.dat").read_bytes() == b"bytes"
    assert set(site.archived()) == {"not empty"}


def test_an_offer_by_a_replaced_configuration_is_given_back_by_whoever_has_that(site: Site) -> None:
    site.deliver("a.dat")
    site.settle()
    (offer,) = site.claim()
    head = elsewhere(site)
    with service_of(head):  # which has not taken it back, as the database was away
        assert is_made_otherwise(site.project, offer.batch_id)
        with (
            pytest.raises(LostOwnership, match="given back: the service"),
            work(site.project, offer.batch_id, "run-1"),
        ):
            pass
        site.tick(5)
        assert len(claim(head, "incoming", "here")) == 1


def test_a_run_that_has_begun_before_goes_on(site: Site) -> None:
    site.deliver("a.dat")
    site.settle()
    (offer,) = site.claim()
    with work(site.project, offer.batch_id, "run-1") as job:
        job.advance(Stage.ROUTE)
    head = elsewhere(site)
    with service_of(head):
        assert recall(head) == 1
        assert not is_made_otherwise(site.project, offer.batch_id)
        site.run(offer)
    assert site.archived() == {"a.dat": b"bytes"}


@pytest.mark.parametrize("ends", ["in good order", "silent", "never was"])
def test_without_a_service_each_process_goes_by_its_own_config(
    site: Site, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    head = elsewhere(site)
    if ends == "silent":
        accept(head)
        monkeypatch.setattr(heartbeat, "this_process", lambda part: "another-host/1/1#service")
        heartbeat.begin(head, heartbeat.SERVICE)
        assert is_superseded(site.project, "incoming")
        site.tick_clock(timedelta(hours=1).total_seconds())
    elif ends == "in good order":
        with service_of(head):
            assert is_superseded(site.project, "incoming")
    heartbeat.begin(site.project, heartbeat.PASS)
    assert not is_superseded(site.project, "incoming")
    site.deliver("a.dat")
    site.one_pass()
    assert site.archived() == {"a.dat": b"bytes"}


def test_what_the_service_of_another_site_has_accepted_is_its_own_affair(site: Site) -> None:
    other = elsewhere(site).config
    service = other.service.model_copy(update={"site": "south"})
    with service_of(replace(site.project, config=other.model_copy(update={"service": service}))):
        site.deliver("a.dat")
        site.one_pass()
    assert site.archived() == {"a.dat": b"bytes"}


def test_a_project_whose_watches_the_service_does_not_have_is_another_project(site: Site) -> None:
    config = elsewhere(site).config
    watch = config.watch[0].model_copy(update={"name": "other"})
    with service_of(replace(site.project, config=config.model_copy(update={"watch": (watch,)}))):
        site.deliver("a.dat")
        site.one_pass()
    assert site.archived() == {"a.dat": b"bytes"}


def test_what_was_accepted_is_no_part_of_the_service(site: Site) -> None:
    with service_of(site.project):
        state = service_state(site.project)
        assert state is not None
        assert "configuration" not in state["parts"]
        assert "configuration" not in {part.name for part in status(site.project).parts}
