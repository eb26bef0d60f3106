"""A project behind definitions, and a Dagster instance, for tests of what Dagster sees."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest

from carbonation_core.pipeline.batch_report import BatchReport
from carbonation_core.pipeline.claim import Offer, claim
from carbonation_dagster import build_defs
from carbonation_dagster.defs.naming import run_tags
from carbonation_dagster.defs.resources import RESOURCE, Carbonation
from carbonation_dagster.environment import DAGSTER_HOME
from carbonation_dagster.instance.storages import close_kept
from tests.dagster._helpers.passes import QUICK
from tests.site import Site, SiteMaker

BROKEN = """
    [single]
    [single.metadata]
    extract = "broken"
"""
PLUGIN_SECTION = '[plugins]\npackage = "tests.site:PLUGIN"\n'


@dataclass
class Shown:
    """A project as Dagster sees it, with what its runs told."""

    site: Site
    instance: dg.DagsterInstance
    reports: list[BatchReport]
    carbonation: Carbonation
    defs: dg.Definitions

    def tick(self) -> Any:
        """What one tick of the sensor of "incoming" comes to."""
        (sensor,) = [sensor for sensor in self.defs.sensors or () if sensor.name == "watch_incoming"]
        context = dg.build_sensor_context(instance=self.instance, resources={RESOURCE: self.carbonation})
        return sensor(context)

    def offers(self) -> list[Offer]:
        return claim(self.site.project, "incoming", "somebody")

    def run(self, offer: Offer | None = None, job: str = "watch_incoming", **options: Any) -> Any:
        """A run in this process, of an offer or without one."""
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags=run_tags(offer) if offer else None,
            raise_on_error=False,
            **options,
        )

    def checks(self, result: Any) -> dict[str, bool]:
        return {
            event.event_specific_data.check_name: event.event_specific_data.passed
            for event in result.all_events
            if event.event_type_value == "ASSET_CHECK_EVALUATION"
        }

    def materialised(self, result: Any) -> dict[str, Any]:
        """Metadata by asset key, of what the run materialised."""
        return {
            event.asset_key.to_user_string(): event.materialization.metadata
            for event in result.all_events
            if event.event_type_value == "ASSET_MATERIALIZATION"
        }


@pytest.fixture(scope="session")
def kept_instance() -> Iterator[dg.DagsterInstance]:
    """Its tables take longer to make than most tests."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def instance(kept_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """A Dagster instance that knows of nothing."""
    kept_instance.wipe()
    return kept_instance


@pytest.fixture
def shown(make: SiteMaker, instance: dg.DagsterInstance) -> Shown:
    """Watch "incoming" of single files, whose extractor fails where a file says "broken"."""
    return show(make(BROKEN, more=PLUGIN_SECTION), instance)


def show(site: Site, instance: dg.DagsterInstance) -> Shown:
    reports: list[BatchReport] = []
    carbonation = Carbonation(lambda: site.project, told=reports.append)
    defs = build_defs(site.directory / "config.toml", carbonation)
    return Shown(site, instance, reports, carbonation, defs)


@pytest.fixture
def no_home_of_others(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pass makes DAGSTER_HOME, here and for nobody else."""
    monkeypatch.delenv(DAGSTER_HOME, raising=False)
    yield
    os.environ.pop(DAGSTER_HOME, None)  # set by prepare_home
    close_kept()  # the next home may have the same path


@pytest.fixture
def once(make: SiteMaker) -> Site:
    """A project for passes."""
    return make(BROKEN, watch=QUICK, more=PLUGIN_SECTION)
