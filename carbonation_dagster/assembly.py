"""Everything that Dagster shows of one configuration."""

import logging
from pathlib import Path

import dagster as dg

from carbonation_core.config import Config, find_config, load_config
from carbonation_core.errors import ConfigError
from carbonation_core.plugin import load_plugin
from carbonation_core.project import open_project
from carbonation_core.ruleset import Rules, load_rules
from carbonation_core.toml import read_toml
from carbonation_core.watch import Watchers
from carbonation_dagster.agreement import agreement_check
from carbonation_dagster.assets import archive_spec, catalog_asset, delivery_spec, feeding_watches
from carbonation_dagster.check_sensor import check_sensor
from carbonation_dagster.checks import watch_checks
from carbonation_dagster.jobs import (
    process_now_job,
    reconcile_archive_job,
    reconcile_delivery_job,
    retry_job,
    watch_asset_job,
)
from carbonation_dagster.resources import RESOURCE, Carbonation
from carbonation_dagster.schedules import reconcile_schedules
from carbonation_dagster.sensors import watch_sensor

log = logging.getLogger(__name__)


def build_defs(
    config_path: str | Path | None = None, carbonation: Carbonation | None = None
) -> dg.Definitions:
    """The definitions for a config.toml, found as the CLI finds it.

    They bring no executor, so that they can be merged with others; run them in
    process, as a process per op costs six times as much. Without a config.toml
    they say what is missing; one that is not usable raises `ConfigError`.
    """
    path = find_config(config_path)
    if not path.exists():
        return _unconfigured(path)
    config = load_config(path)
    jobs = {watch.name: watch_asset_job(watch) for watch in config.watch}
    feeding = feeding_watches(config, _rules(config))
    return dg.Definitions(
        assets=[
            *(delivery_spec(watch) for watch in config.watch),
            *(catalog_asset(watch) for watch in config.watch),
            *(archive_spec(archive, feeding[archive.name]) for archive in config.archive),
        ],
        asset_checks=[
            *(watch_checks(watch) for watch in config.watch),
            *(agreement_check(archive) for archive in config.archive),
        ],
        jobs=[
            *jobs.values(),
            process_now_job(config),
            retry_job,
            reconcile_delivery_job,
            reconcile_archive_job,
        ],
        sensors=[*(watch_sensor(watch, jobs[watch.name]) for watch in config.watch), check_sensor],
        schedules=reconcile_schedules(config),
        resources={RESOURCE: carbonation or _service_of(config)},
    )


def _service_of(config: Config) -> Carbonation:
    watchers = Watchers(config.service.poll_interval.total_seconds())
    return Carbonation(lambda: open_project(config.path), watchers=watchers)


def _rules(config: Config) -> Rules | None:
    """The rules for the picture of who feeds whom. Refused ones stop nothing: earlier ones hold."""
    plugin = load_plugin(config)
    try:
        return load_rules(read_toml(config.rules.file), config, plugin.names)
    except ConfigError as error:
        log.warning("the rules cannot be used as they are: %s", error)
        return None


def _unconfigured(path: Path) -> dg.Definitions:
    missing = (
        f"There is no configuration at `{path}`. Run `carbonation init` and `carbonation db init` in a new "
        "directory, set CARBONATION_CONFIG to its config.toml, and reload this code location."
    )
    log.warning(missing)
    return dg.Definitions(
        assets=[dg.AssetSpec("configuration_missing", description=missing, group_name="carbonation")]
    )
