"""What a long-lived process works with when its configuration has changed."""

import os
from dataclasses import replace

import pytest

from carbonation_core.config.loading import ACCEPTED_VARIABLE
from carbonation_core.pipeline.in_force import accept
from carbonation_core.pipeline.work import Stage, work
from carbonation_core.project import Project
from carbonation_core.reports import heartbeat
from carbonation_dagster.defs.resources import Carbonation
from tests import databases
from tests.site import SINGLE, Site, SiteMaker

pytestmark = databases.one


def changed(site: Site) -> Project:
    """The project with another destination."""
    config = site.project.config
    (site.directory / "changed").mkdir()
    archive = config.archive[0].model_copy(
        update={"destination": str(site.directory / "changed"), "base_path": site.directory / "changed"}
    )
    return replace(site.project, config=config.model_copy(update={"archive": (archive,)}))


def test_a_run_reads_again_what_its_batch_was_made_with(make: SiteMaker) -> None:
    site = make(SINGLE)
    before, after = site.project, changed(site)
    opened = iter([before, after])
    carbonation = Carbonation(lambda: next(opened))
    assert carbonation.project is before
    site.deliver("a")
    site.settle()
    site.project = after
    (offer,) = site.claim()
    with work(carbonation.project_for(offer.batch_id), offer.batch_id, "run-1") as job:
        job.advance(Stage.ARCHIVE)
        job.finish()
    assert (site.directory / "changed" / "a").read_bytes() == b"bytes"
    assert site.archived() == {}


def test_a_claim_reads_again_what_the_service_has_accepted_since(make: SiteMaker) -> None:
    site = make(SINGLE)
    before, after = site.project, changed(site)
    opened = iter([before, after])
    carbonation = Carbonation(lambda: next(opened))
    assert carbonation.project_to_claim("incoming") is before
    accept(after)
    assert carbonation.project_to_claim("incoming") is before  # no service runs
    heartbeat.begin(after, heartbeat.SERVICE)
    assert carbonation.project_to_claim("incoming") is after
    assert carbonation.project_to_claim("incoming") is after


def test_what_agrees_is_not_read_again(make: SiteMaker) -> None:
    site = make(SINGLE)
    opened = iter([site.project])
    carbonation = Carbonation(lambda: next(opened))
    site.deliver("a")
    site.settle()
    (offer,) = site.claim()
    assert carbonation.project_for(offer.batch_id) is site.project


def test_a_tick_reads_again_what_was_written_since_unless_a_service_says_when(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(SINGLE)
    config = site.directory / "config.toml"
    before, after = site.project, changed(site)
    opened = iter([before, after])
    carbonation = Carbonation(lambda: next(opened), file=config)
    assert carbonation.project_of_tick() is before
    assert carbonation.project_of_tick() is before
    os.utime(config, (1, 1))
    with monkeypatch.context() as service:
        service.setenv(ACCEPTED_VARIABLE, str(config))
        assert carbonation.project_of_tick() is before
    assert carbonation.project_of_tick() is after
    assert carbonation.project_of_tick() is after
