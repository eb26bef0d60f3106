"""What the service asks of Dagster beyond its public API, on real storages."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG

from carbonation_core.config.loading import Config
from carbonation_core.pipeline.claim import claim
from carbonation_dagster.defs import recovery, runs
from carbonation_dagster.defs.naming import run_tags
from carbonation_dagster.service.home import dagster_yaml
from tests.dagster.conftest import Shown

Status = dg.DagsterRunStatus


def test_runs_whose_processes_are_gone_show_as_ended(shown: Shown) -> None:
    job = shown.defs.resolve_job_def("watch_incoming")
    launched = {runs.LAUNCHED_TAG: "{}"}
    made = {
        (status, bool(tags)): shown.instance.create_run_for_job(job_def=job, tags=tags, status=status).run_id
        for status in (Status.NOT_STARTED, Status.STARTING, Status.STARTED)
        for tags in ({}, launched)
    }

    runs.report_orphans(shown.instance)

    after = {key: shown.instance.get_run_by_id(id_).status for key, id_ in made.items()}  # type: ignore[union-attr]  # they are there
    changed = {key: status for key, status in after.items() if status is not key[0]}
    assert changed == {
        (Status.STARTING, True): Status.CANCELED,
        (Status.STARTED, True): Status.FAILURE,
    }


def test_runs_that_a_code_server_started_bear_that_tag() -> None:
    assert runs.LAUNCHED_TAG == GRPC_INFO_TAG


def test_a_daemon_that_never_ran_has_loops_without_heartbeats(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        found = runs.heartbeats(instance)
        assert found["SENSOR"] is None
        runs.forget_heartbeats(instance)
        assert runs.heartbeats(instance) == found


def test_ticks_may_wait_as_the_instance_is_configured(tmp_path: Path) -> None:
    ours = {"sensors": dagster_yaml(Config(), tmp_path)["sensors"]}
    for overrides, threads in ((None, 0), ({"sensors": {"num_workers": 9}}, 0), (ours, 16)):
        with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
            assert runs.tick_threads(instance) == threads


@pytest.mark.parametrize("has_it", [True, False])
@pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.STARTING, Status.STARTED])
def test_what_was_launched_and_nobody_has_any_more_is_offered_again(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, status: dg.DagsterRunStatus, has_it: bool
) -> None:
    """As after a kill of everything in the moment of its launch."""
    shown.site.deliver("a")
    shown.site.settle()
    project, name = shown.site.project, runs.instance_id(shown.instance)
    (offer,) = claim(project, "incoming", name)
    job = shown.defs.resolve_job_def("watch_incoming")
    run = shown.instance.create_run_for_job(job_def=job, tags=run_tags(offer), status=status)
    monkeypatch.setattr(recovery, "PAUSE", timedelta(days=1))
    monkeypatch.setattr(shown.instance.run_launcher, "may_begin", lambda run: has_it, raising=False)
    recovery.recover(project, "incoming", shown.instance, name)
    assert shown.instance.get_run_by_id(run.run_id).status is status  # type: ignore[union-attr]  # it is there

    monkeypatch.setattr(recovery, "PAUSE", timedelta(0))
    recovery.recover(project, "incoming", shown.instance, name)

    is_lost = status is Status.STARTING and not has_it
    after = shown.instance.get_run_by_id(run.run_id)
    assert after is not None
    assert after.status is (Status.FAILURE if is_lost else status)
    assert len(claim(project, "incoming", name)) == is_lost
