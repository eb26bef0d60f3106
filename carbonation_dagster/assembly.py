"""Everything that Dagster shows of one configuration."""

import logging
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from carbonation_core.config.loading import Config, find_config, load_config
from carbonation_core.config.toml import read_toml
from carbonation_core.disk.watcher import Watchers
from carbonation_core.errors import ConfigError
from carbonation_core.plugin import load_plugin
from carbonation_core.project import open_project
from carbonation_core.rules.hosts import hosts_of
from carbonation_core.rules.rule_sets import Rules, load_rules
from carbonation_dagster.defs.alert_sensors import alert_sensors
from carbonation_dagster.defs.archive_checks import agreement_check, transfer_check
from carbonation_dagster.defs.assets import (
    archive_spec,
    catalog_asset,
    delivery_spec,
    feeding_watches,
    rules_spec,
)
from carbonation_dagster.defs.change_sensor import changes_sensor
from carbonation_dagster.defs.jobs import launched_jobs, process_now_job, watch_asset_job
from carbonation_dagster.defs.naming import Names
from carbonation_dagster.defs.report_asset import report_asset
from carbonation_dagster.defs.resources import RESOURCE, Carbonation
from carbonation_dagster.defs.rules_checks import rules_check
from carbonation_dagster.defs.schedules import schedules
from carbonation_dagster.defs.sensors import watch_sensor
from carbonation_dagster.defs.watch_checks import watch_checks

log = logging.getLogger(__name__)


def build_defs(
    config_path: str | Path | None = None,
    carbonation: Carbonation | None = None,
    *,
    key_prefix: str | Sequence[str] | None = None,
    group_name: str | None = None,
    start: bool = True,
) -> dg.Definitions:
    """The definitions for a config.toml, found as the CLI finds it.

    `key_prefix` begins every asset key, and the name of every job, sensor and
    schedule; `group_name` is that of all assets. Sensors and schedules are on from
    the beginning, unless `start` is false. They bring no executor, so that
    they can be merged with others; run them in process, as a process per op costs
    six times as much. Without a `config_path`, and with no config.toml to be found,
    they say what is missing. One that is not there or not usable raises `ConfigError`.
    """
    path = find_config(config_path)
    names = Names.of(key_prefix, group_name)
    if config_path is None and not path.exists():
        return _unconfigured(path, names)
    config = load_config(path)
    rules = _rules(config)
    watch_jobs = {
        watch.name: watch_asset_job(watch, config, names, hosts_of(watch, rules, config))
        for watch in config.watch
    }
    launched = launched_jobs(config, names)
    feeding = feeding_watches(config, rules)
    return dg.Definitions(
        assets=[
            rules_spec(config, names),
            *(delivery_spec(watch, names) for watch in config.watch),
            *(catalog_asset(watch, names) for watch in config.watch),
            *(report_asset(watch, names) for watch in config.watch),
            *(archive_spec(archive, names, feeding[archive.name]) for archive in config.archive),
        ],
        asset_checks=[
            rules_check(config, names),
            *(watch_checks(watch, names) for watch in config.watch),
            *(transfer_check(archive, names) for archive in config.archive),
            *(agreement_check(archive, names) for archive in config.archive),
        ],
        jobs=[*watch_jobs.values(), process_now_job(config, names), *launched.values()],
        sensors=[
            *(watch_sensor(watch, names, watch_jobs[watch.name], start=start) for watch in config.watch),
            changes_sensor(names, start=start),
            *alert_sensors(config, names, start=start),
        ],
        schedules=schedules(config, launched, start=start),
        resources={RESOURCE: carbonation or _service_of(config, names)},
    )


def _service_of(config: Config, names: Names) -> Carbonation:
    watchers = Watchers(config.service.poll_interval.total_seconds())
    return Carbonation(lambda: open_project(config.path), watchers=watchers, names=names, file=config.path)


def _rules(config: Config) -> Rules | None:
    """The rules for the picture of who feeds whom. Refused ones stop nothing: earlier ones hold."""
    plugin = load_plugin(config)
    try:
        return load_rules(read_toml(config.rules.file), config, plugin.names)
    except ConfigError as error:
        log.warning("the rules cannot be used as they are: %s", error)
        return None


def _unconfigured(path: Path, names: Names) -> dg.Definitions:
    missing = (
        f"There is no configuration at `{path}`. Run `carbonation init` and `carbonation db init` in a new "
        "directory, set CARBONATION_CONFIG to its config.toml, and reload this code location."
    )
    log.warning(missing)
    return dg.Definitions(
        assets=[
            dg.AssetSpec(
                [*names.prefix, "configuration_missing"],
                description=missing,
                group_name=names.group_of("carbonation"),
            )
        ]
    )
