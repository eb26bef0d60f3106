"""Feeds that fall silent and groups that wait too long are told without a run, and once."""

from typing import Any

import dagster as dg
import pytest

from carbonation_dagster.naming import CHECK_SENSOR
from carbonation_dagster.resources import RESOURCE, STOP_VARIABLE
from tests.orchestration.conftest import PLUGIN_SECTION, Shown, show
from tests.site import PAIRS, SiteMaker


@pytest.fixture
def hourly(make: SiteMaker, instance: dg.DagsterInstance) -> Shown:
    return show(make(PAIRS, watch={"expect_every": '"1h"'}, more=PLUGIN_SECTION), instance)


class Ticking:
    """The sensor, tick after tick."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.cursor: str | None = None

    def __call__(self) -> dict[str, tuple[bool, str | None]]:
        """Whether each check that was told passed, and its description."""
        (sensor,) = [one for one in self.shown.defs.sensors or () if one.name == CHECK_SENSOR]
        context = dg.build_sensor_context(
            instance=self.shown.instance,
            cursor=self.cursor,
            resources={RESOURCE: self.shown.carbonation},
        )
        told: Any = sensor(context)
        if isinstance(told, dg.SkipReason):
            return {}
        self.cursor = told.cursor
        return {
            f"{one.asset_key.to_user_string()} {one.check_name}": (one.passed, one.description)
            for one in told.asset_events
        }


def test_each_verdict_is_told_once_until_it_changes(hourly: Shown) -> None:
    site, tick = hourly.site, Ticking(hourly)
    site.deliver("run1.dat")
    site.settle()
    well = (True, None)
    assert tick() == {"catalog/incoming completeness": well, "delivery/incoming freshness": well}
    assert tick() == {}

    site.tick(3601)
    assert tick() == {
        "delivery/incoming freshness": (False, "nothing new since 2026-01-01 12:00:00; expected every 1h")
    }
    site.tick(3600)
    (passed, description) = tick()["catalog/incoming completeness"]
    assert not passed
    assert description == "run1 waits for .json; its timeout passed at 2026-01-01 14:00:04"
    assert tick() == {}

    site.deliver("run1.json")
    site.one_pass()
    assert tick() == {"catalog/incoming completeness": well, "delivery/incoming freshness": well}


def test_a_watch_that_expects_nothing_has_no_freshness(shown: Shown) -> None:
    assert set(Ticking(shown)()) == {"catalog/incoming completeness"}


def test_it_says_nothing_while_the_service_stops(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = shown.site.directory / "stopping"
    mark.touch()
    monkeypatch.setenv(STOP_VARIABLE, str(mark))
    assert Ticking(shown)() == {}


def test_a_run_tells_them_too(hourly: Shown) -> None:
    hourly.site.deliver("run1.dat", "run1.json", "run2.dat")
    hourly.site.settle()
    hourly.site.now = hourly.site.now.replace(day=3)
    hourly.site.tick()
    (offer,) = hourly.offers()
    found = hourly.checks(hourly.run(offer))
    assert (found["freshness"], found["completeness"]) == (False, False)


def test_they_can_be_run_alone(hourly: Shown) -> None:
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.all_asset_checks())
    defs = dg.Definitions.merge(hourly.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("checks").execute_in_process(instance=hourly.instance)
    of_the_watch = dict.fromkeys(("integrity", "failed_groups", "completeness", "freshness"), True)
    assert of_the_watch.items() <= hourly.checks(result).items()
