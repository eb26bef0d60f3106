"""Feeds that fall silent and groups that wait too long are told without a run, and once."""

import os
from typing import Any

import dagster as dg
import pytest

from carbonation_core.project import rules_in_force
from carbonation_dagster.defs.naming import CHANGES_SENSOR, RULES_CHECK
from carbonation_dagster.defs.resources import RESOURCE
from carbonation_dagster.environment import STOP_FILE
from tests.dagster.conftest import PLUGIN_SECTION, Shown, show
from tests.site import PAIRS, SiteMaker


@pytest.fixture
def hourly(make: SiteMaker, instance: dg.DagsterInstance) -> Shown:
    return show(make(PAIRS, watch={"expect_every": '"1h"'}, more=PLUGIN_SECTION), instance)


class Ticking:
    """The sensor, tick after tick."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.cursor: str | None = None

    def events(self) -> list[Any]:
        """All that the tick tells."""
        (sensor,) = [one for one in self.shown.defs.sensors or () if one.name == CHANGES_SENSOR]
        context = dg.build_sensor_context(
            instance=self.shown.instance,
            cursor=self.cursor,
            resources={RESOURCE: self.shown.carbonation},
        )
        told: Any = sensor(context)
        if isinstance(told, dg.SkipReason):
            return []
        self.cursor = told.cursor
        return list(told.asset_events)

    def __call__(self) -> dict[str, tuple[bool, str | None]]:
        """Whether each check of a watch that was told passed, and its description."""
        return {
            f"{one.asset_key.to_user_string()} {one.check_name}": (one.passed, one.description)
            for one in self.events()
            if isinstance(one, dg.AssetCheckEvaluation) and one.check_name != RULES_CHECK
        }


def test_each_verdict_is_told_once_until_it_changes(hourly: Shown) -> None:
    site, tick = hourly.site, Ticking(hourly)
    site.deliver("run1.dat")
    site.settle()
    well = (True, None)
    assert tick() == {"incoming/catalog completeness": well, "incoming/delivery freshness": well}
    assert tick() == {}

    site.tick(3601)
    assert tick() == {
        "incoming/delivery freshness": (False, "nothing new since 2026-01-01 12:00:00 UTC; expected every 1h")
    }
    site.tick(3600)
    (passed, description) = tick()["incoming/catalog completeness"]
    assert not passed
    assert description == "run1 waits for .json; its timeout passed at 2026-01-01 14:00:04 UTC"
    assert tick() == {}

    site.deliver("run1.json")
    site.one_pass()
    assert tick() == {"incoming/catalog completeness": well, "incoming/delivery freshness": well}


def test_a_watch_that_expects_nothing_has_no_freshness(shown: Shown) -> None:
    assert set(Ticking(shown)()) == {"incoming/catalog completeness"}


def test_it_says_nothing_while_the_service_stops(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = shown.site.directory / "stopping"
    mark.touch()
    monkeypatch.setenv(STOP_FILE, str(mark))
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


def test_each_version_of_the_rules_is_told_with_whose_it_is_and_what_was_in_force_before(
    hourly: Shown,
) -> None:
    site, tick = hourly.site, Ticking(hourly)
    site.tick()
    first = rules_in_force(site.project).digest
    accepted, *_, check = [one for one in tick.events() if one.asset_key.path == ["rules"]]
    assert accepted.description == f"rules {first[:12]} are in force"
    assert isinstance(accepted, dg.AssetMaterialization)
    assert (check.check_name, check.passed) == ("accepted", True)
    assert tick.events() == []

    site.set_rules(PAIRS + "archive = 7\n")
    site.tick()
    refused, check = tick.events()
    assert isinstance(refused, dg.AssetObservation)
    said = {name: value.value for name, value in refused.metadata.items()}
    assert (said["accepted"], said["digest before"]) == (False, first)
    assert 'key "archive"' in said["refused because"]
    assert said["file of"] == site.directory.owner()
    assert f"(pid {os.getpid()})" in said["read by"]
    assert (check.passed, check.description) == (False, said["refused because"])

    site.set_rules(PAIRS + "[other]\n")
    site.tick()
    accepted, check = tick.events()
    assert accepted.metadata["digest before"].value == first
    assert accepted.metadata["digest"].value == rules_in_force(site.project).digest != first
    assert check.passed


def test_whether_the_rules_are_accepted_can_be_asked_at_once(hourly: Shown) -> None:
    hourly.site.tick()
    hourly.site.set_rules("[pairs\n")
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.all_asset_checks())
    defs = dg.Definitions.merge(hourly.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("checks").execute_in_process(instance=hourly.instance)
    assert hourly.checks(result)["accepted"] is False


def test_who_waits_is_told_on_the_delivery_before_its_time_is_up(hourly: Shown) -> None:
    site, tick = hourly.site, Ticking(hourly)
    assert [one.metadata["groups that wait"].value for one in observed(tick)] == [0]
    site.deliver("run1.dat")
    site.settle()
    assert observed(tick) == []

    site.tick(61)
    (told,) = observed(tick)
    assert (told.metadata["groups that wait"].value, told.metadata["waiting"].value) == (1, 1)
    (row,) = told.metadata["table"].records
    assert row.data["group"] == "run1"
    assert row.data["waits since"] == "2026-01-01 12:00:03 UTC"
    assert row.data["what for"].startswith("waits for .json until 2026-01-01 14:00:0")
    assert observed(tick) == []

    site.deliver("run1.json")
    site.one_pass()
    assert [one.metadata["groups that wait"].value for one in observed(tick)] == [0]


def observed(tick: Ticking) -> list[Any]:
    key = dg.AssetKey(["incoming", "delivery"])
    return [one for one in tick.events() if isinstance(one, dg.AssetObservation) and one.asset_key == key]


def test_a_report_is_made_at_once_and_then_each_day(hourly: Shown) -> None:
    site, tick = hourly.site, Ticking(hourly)
    (report,) = reports(tick)
    assert report.metadata["picture"].value.startswith("![report](data:image/svg+xml;base64,")
    assert reports(tick) == []
    site.tick(86_400)
    assert len(reports(tick)) == 1


def reports(tick: Ticking) -> list[Any]:
    return [one for one in tick.events() if one.asset_key == dg.AssetKey(["report", "incoming"])]


def test_a_report_is_made_by_the_button(shown: Shown) -> None:
    shown.site.deliver("a.dat", "b.dat")
    shown.site.one_pass()
    key = dg.AssetKey(["report", "incoming"])
    job = dg.define_asset_job("now", selection=dg.AssetSelection.assets(key))
    defs = dg.Definitions.merge(shown.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("now").execute_in_process(instance=shown.instance)
    told = shown.materialised(result)["report/incoming"]
    assert (told["files"].value, told["waiting"].value) == (2, 0)
