"""What one tick of a watch's sensor does where its process has another configuration, or another site."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from carbonation_core.db.engine import writing
from carbonation_core.db.models import Batch
from carbonation_core.errors import NotOurs, Superseded
from carbonation_core.pipeline import in_force
from carbonation_core.pipeline.claim import open_batches
from carbonation_core.pipeline.work import Stage, work
from carbonation_core.project import Project
from carbonation_core.reports import heartbeat
from tests.dagster.conftest import Shown


def _with_service(shown: Shown, **changed: object) -> Project:
    """The project with other keys in [service]."""
    config = shown.site.project.config
    service = config.service.model_copy(update=changed)
    return replace(shown.site.project, config=config.model_copy(update={"service": service}))


def _service_accepts(project: Project) -> None:
    in_force.accept(project)
    heartbeat.begin(project, heartbeat.SERVICE)


def test_a_tick_goes_on_with_what_the_service_has_accepted_since_it_began(shown: Shown) -> None:
    shown.site.settle()
    shown.site.deliver("a.dat")
    shown.site.settle()
    assert shown.carbonation.project_of_tick() is shown.site.project
    shown.site.project = _with_service(shown, max_retries=7)  # which is what it reads then
    _service_accepts(shown.site.project)

    (request,) = shown.tick().run_requests

    assert shown.carbonation.project is shown.site.project
    with work(shown.site.project, request.run_key or "", "run-1") as job:
        assert job.advance(Stage.ARCHIVE).groups[0].outcome == "archived"


def test_a_tick_fails_with_a_sentence_where_config_toml_was_not_copied(shown: Shown) -> None:
    shown.site.deliver("a.dat")
    shown.site.settle()
    _service_accepts(_with_service(shown, max_retries=7))

    with pytest.raises(Superseded, match="has accepted another configuration than a process on host"):
        shown.tick()


def test_process_now_fails_with_a_sentence_where_config_toml_was_not_copied(shown: Shown) -> None:
    shown.site.deliver("a.dat")
    shown.site.settle()
    _service_accepts(_with_service(shown, max_retries=7))

    result = shown.run()

    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "watch incoming: nothing is begun: the service of site" in str(failure.step_failure_data.error)
    assert shown.site.statuses() == {"a.dat": "waiting"}


def test_a_tick_leaves_the_batches_of_another_site_alone(shown: Shown) -> None:
    shown.site.deliver("a.dat")
    shown.site.settle()
    (offer,) = shown.offers()
    with work(shown.site.project, offer.batch_id, "run-1") as job:
        job.advance(Stage.INTEGRITY)
    with writing(shown.site.project.engine) as connection:
        connection.execute(update(Batch).values(lease_until=datetime(2020, 1, 1, tzinfo=UTC)))
    shown.carbonation._project = _with_service(shown, site="south")

    with pytest.raises(NotOurs, match=r"belongs to site .*, and this is site south"):
        shown.tick()

    assert shown.site.statuses() == {"a.dat": "waiting"}
    assert len(open_batches(shown.site.project, "incoming")) == 1
