"""Executing a failed run again, as "Re-execute from failure" in the UI does."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from carbonation_core.pipeline.claim import claim
from carbonation_dagster.defs.naming import run_tags
from tests.dagster._helpers.again import projects, watch_incoming
from tests.dagster.conftest import BROKEN, PLUGIN_SECTION
from tests.site import PLUGIN, Site, SiteMaker, sizes

SERVICE = {"single_group_runs": "0"}


@pytest.fixture(scope="module")
def kept_instance() -> Iterator[dg.DagsterInstance]:
    # An ephemeral one cannot execute a job that is made anew.
    with dg.instance_for_test(set_dagster_home=False) as made:
        yield made


@pytest.fixture
def failed(make: SiteMaker) -> Iterator[Site]:
    """Two groups that are ready, one of which will fail."""
    site = make(BROKEN, service=SERVICE, more=PLUGIN_SECTION)
    site.deliver("good.dat", content=b"1")
    site.deliver("bad.dat", content=b"broken")
    site.settle()
    projects.append(site.project)
    yield site
    projects.clear()


def execute(instance: dg.DagsterInstance, **options: Any) -> dg.JobExecutionResult:
    return dg.execute_job(dg.reconstructable(watch_incoming), instance=instance, **options)


def first_run(instance: dg.DagsterInstance, site: Site) -> dg.JobExecutionResult:
    (offer,) = claim(site.project, "incoming", "here")
    result = execute(instance, tags=run_tags(offer))
    assert not result.success
    assert set(site.archived()) == {"good.dat"}
    return result


def again(instance: dg.DagsterInstance, run_id: str) -> dg.JobExecutionResult:
    parent = instance.get_run_by_id(run_id)
    assert parent is not None
    options = dg.ReexecutionOptions.from_failure(run_id, instance)
    # The UI hands the parent's tags on.
    return execute(instance, reexecution_options=options, tags=dict(parent.tags))


def files_archived(result: dg.JobExecutionResult) -> list[int]:
    return [
        event.materialization.metadata["files"].value
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION"
        and event.asset_key == dg.AssetKey(["archive", "main"])
    ]


def test_it_takes_the_failed_groups_through_all_they_lack_at_once(
    failed: Site, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = first_run(instance, failed).run_id
    failed.deliver("new.dat")
    monkeypatch.setitem(PLUGIN.extractors, "broken", sizes)

    result = again(instance, run_id)

    assert result.success
    assert files_archived(result) == [1]
    assert failed.archived()["bad.dat"] == b"broken"


def test_what_fails_once_more_fails_that_run_and_is_one_more_attempt(
    failed: Site, instance: dg.DagsterInstance
) -> None:
    run_id = first_run(instance, failed).run_id

    result = again(instance, run_id)

    assert not result.success
    assert files_archived(result) == []
    assert failed.group("bad.dat").attempts == 2


def test_what_somebody_else_has_taken_meanwhile_is_left_to_them(
    failed: Site, instance: dg.DagsterInstance
) -> None:
    run_id = first_run(instance, failed).run_id
    failed.tick(86400)
    failed.claim()

    result = again(instance, run_id)

    assert result.success
    assert files_archived(result) == []


def test_a_run_of_the_button_can_be_repeated_too(
    failed: Site, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = execute(instance)
    assert not first.success
    monkeypatch.setitem(PLUGIN.extractors, "broken", sizes)

    result = again(instance, first.run_id)

    assert result.success
    assert failed.archived()["bad.dat"] == b"broken"


def test_a_group_that_failed_alone_goes_on_from_the_step_that_is_red(
    make: SiteMaker, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(BROKEN, more=PLUGIN_SECTION)
    site.deliver("bad.dat", content=b"broken")
    site.settle()
    projects.append(site.project)
    (offer,) = claim(site.project, "incoming", "here")
    first = execute(instance, tags=run_tags(offer))
    assert [one.step_key for one in first.all_events if one.is_step_failure] == ["incoming__catalog.extract"]

    monkeypatch.setitem(PLUGIN.extractors, "broken", sizes)
    assert again(instance, first.run_id).success
    projects.clear()
    assert set(site.archived()) == {"bad.dat"}
