"""All that Dagster shows of a configuration, and what it shows without a usable one."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carbonation_core.config.loading import load_config
from carbonation_core.errors import ConfigError
from carbonation_dagster import build_defs
from carbonation_dagster.defs.naming import Names, service_of
from carbonation_dagster.defs.resources import Carbonation
from tests.dagster.conftest import PLUGIN_SECTION
from tests.site import SiteMaker

ROOT = Path(__file__).parents[3]
SNAPSHOT = Path(__file__).with_name("definitions.json")

RULES = """
    [single]
    archive = "main"
    [[single.routing]]
    match = "*.special"
    archive = "other.one"
    [pairs]
    archive = "main"
    [pairs.completeness]
    group_by = "stem"
    expected_extensions = [".dat", ".json"]
"""
MORE = """
[[watch]]
name = "site-a"
type = "pair"
path = "pairs"
recursive = true
patterns = ["*.dat", "*.json"]
expect_every = "1h"
rules = "pairs"
owners = ["ops@example.org", "team:archive"]
tags = { instrument = "radiometer" }
[[archive]]
name = "other.one"
base_path = "other"
destination = "{category}"
action = "move"
url = "https://files.example.org/other"
"""


def described(defs: dg.Definitions, directory: Path) -> dict[str, Any]:
    """The definitions as JSON that a person can compare."""
    repository = defs.get_repository_def()
    graph = defs.resolve_asset_graph()
    service = service_of(load_config(directory / "config.toml"))

    def text(value: object) -> str:
        return str(value).replace(str(directory), "DIRECTORY").replace(service, "SERVICE")

    return {
        "assets": {
            key.to_user_string(): {
                "description": text(graph.get(key).description),
                "group": graph.get(key).group_name,
                "owners": sorted(graph.get(key).owners),
                "tags": {k: v for k, v in graph.get(key).tags.items() if not k.startswith("dagster/")},
                "kinds": sorted(graph.get(key).kinds),
                "parents": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
                "made here": graph.get(key).is_executable,
                "checks": sorted(check.name for check in graph.get(key).check_keys),
                "metadata": {
                    name: text(getattr(value, "value", value))
                    for name, value in graph.get(key).metadata.items()
                },
            }
            for key in sorted(graph.get_all_asset_keys())
        },
        "jobs": {
            job.name: {
                "description": job.description,
                "tags": {name: text(value) for name, value in job.tags.items()},
                "executor": job.executor_def.name,
                "launchpad begins with": job.run_config,
                "ops": sorted(str(handle) for handle in job.graph.node_dict),
            }
            for job in sorted(repository.get_all_jobs(), key=lambda job: job.name)
            if not job.name.startswith("__")
        },
        "sensors": {
            sensor.name: {
                "description": text(sensor.description),
                "on": sensor.default_status.value,
                "job": sensor.job_name if sensor.has_jobs else None,
                "every": sensor.minimum_interval_seconds,
            }
            for sensor in repository.sensor_defs
        },
        "schedules": {
            schedule.name: {
                "description": schedule.description,
                "on": schedule.default_status.value,
                "job": schedule.job_name,
                "cron": schedule.cron_schedule,
            }
            for schedule in repository.schedule_defs
        },
    }


def test_the_definitions_are_those_of_the_snapshot(make: SiteMaker) -> None:
    """After a change that is meant: delete the file, run this, and read what it wrote."""
    site = make(RULES, more=MORE + PLUGIN_SECTION)
    found = described(build_defs(site.directory / "config.toml"), site.directory)

    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        pytest.fail(f"{SNAPSHOT.name} was missing and has been written; read it")
    assert found == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["meta", "in", "input", "a.b-c", "1", "now", "_x", "None", "config"])
def test_every_name_that_config_allows_can_be_shown(make: SiteMaker, name: str) -> None:
    quoted = f'"{name}"'
    site = make(
        "[single]\n",
        watch={"name": quoted, "archive": quoted},
        archive={"name": quoted},
        more=PLUGIN_SECTION,
    )

    defs = build_defs(site.directory / "config.toml")

    assert defs.resolve_job_def(f"watch_{name.replace('.', '_').replace('-', '_')}")
    dg.Definitions.validate_loadable(defs)


def test_a_prefix_begins_every_key_and_name_and_a_group_holds_every_asset(make: SiteMaker) -> None:
    site = make(RULES, more=MORE + PLUGIN_SECTION)
    config = site.directory / "config.toml"
    defs = build_defs(config, key_prefix=["north", "station"], group_name="files")

    graph = defs.resolve_asset_graph()
    assert all(key.path[:2] == ["north", "station"] for key in graph.get_all_asset_keys())
    assert all(key.asset_key.path[:2] == ["north", "station"] for key in graph.asset_check_keys)
    assert {graph.get(key).group_name for key in graph.get_all_asset_keys()} == {"files"}
    names = [one.name for one in (*(defs.sensors or ()), *(defs.schedules or ()), *(defs.jobs or ()))]
    assert all(name.startswith("north_station_") for name in names)
    dg.Definitions.merge(build_defs(config), dg.Definitions(executor=dg.in_process_executor))
    with pytest.raises(ValueError, match='key_prefix "a/b": should be of letters'):
        build_defs(config, key_prefix="a/b")


def test_what_a_run_tells_goes_to_the_prefixed_assets(make: SiteMaker, instance: dg.DagsterInstance) -> None:
    site = make("[single]\n", more=PLUGIN_SECTION)
    names = Names.of("station")
    carbonation = Carbonation(lambda: site.project, names=names)
    defs = build_defs(site.directory / "config.toml", carbonation, key_prefix="station")
    site.deliver("a.dat")
    site.settle()

    result = defs.resolve_job_def("station_watch_incoming").execute_in_process(instance=instance)

    told = {
        (event.asset_key or event.event_specific_data.asset_key).to_user_string()
        for event in result.all_events
        if event.event_type_value in ("ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_CHECK_EVALUATION")
    }
    assert told == {"station/incoming/delivery", "station/incoming/catalog", "station/archive/main"}


def test_without_a_configuration_they_say_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CARBONATION_CONFIG", str(tmp_path / "config.toml"))
    with caplog.at_level(logging.WARNING):
        defs = build_defs()

    (spec,) = defs.resolve_all_asset_specs()
    assert f"There is no configuration at `{tmp_path / 'config.toml'}`" in (spec.description or "")
    assert "carbonation init" in caplog.text


def test_a_configuration_that_is_named_and_not_there_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path / "config.toml"))):
        build_defs(tmp_path / "config.toml")


def test_sensors_and_schedules_are_off_where_a_project_starts_them_itself(make: SiteMaker) -> None:
    site = make(RULES, more=MORE + PLUGIN_SECTION)

    for start, status in ((True, "RUNNING"), (False, "STOPPED")):
        defs = build_defs(site.directory / "config.toml", start=start)
        found = [*(defs.sensors or ()), *(defs.schedules or ())]
        assert {one.default_status.name for one in found} == {status}
        assert len(found) > 5


def test_a_configuration_with_a_fault_does_not_load_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[service]\npoll_intervall = '5s'\n", encoding="utf-8")

    with pytest.raises(ConfigError, match="poll_interval"):
        build_defs(tmp_path / "config.toml")


def test_refused_rules_do_not_stop_what_goes_on_with_the_earlier_ones(
    make: SiteMaker, caplog: pytest.LogCaptureFixture
) -> None:
    site = make(RULES, more=MORE + PLUGIN_SECTION)
    site.set_rules("[single\n")

    defs = build_defs(site.directory / "config.toml")

    parents = defs.resolve_asset_graph().get(dg.AssetKey(["archive", "other_one"])).parent_keys
    assert {key.to_user_string() for key in parents} == {"incoming/catalog", "site_a/catalog"}
    assert "rules.toml" in caplog.text


def test_help_does_not_wait_for_dagster() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from carbonation_dagster.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "assert CliRunner().invoke(main, ['run', '--help']).exit_code == 0\n"
        "slow = {'dagster', 'sqlalchemy', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported: {slow}' if slow else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_the_code_location_runs_in_process(monkeypatch: pytest.MonkeyPatch, make: SiteMaker) -> None:
    site = make("[single]\n", more=PLUGIN_SECTION)
    monkeypatch.setenv("CARBONATION_CONFIG", str(site.directory / "config.toml"))
    monkeypatch.delitem(sys.modules, "carbonation_dagster.definitions", raising=False)

    from carbonation_dagster.definitions import defs

    assert defs.executor is dg.in_process_executor
