"""Jobs: one per watch, and those that an operator launches."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import Watch
from carbonation_core.rules.hosts import hosts_of_all
from carbonation_dagster.defs.naming import (
    NO_RETRIES,
    PROCESS_NOW_JOB,
    PURGE_HISTORY_JOB,
    RECHECK_RULES_JOB,
    RECONCILE_ARCHIVE_JOB,
    RECONCILE_DELIVERY_JOB,
    RETRY_JOB,
    SERVICE_TAG,
    WATCH_TAG,
    Names,
    queue_tags,
    service_of,
)
from carbonation_dagster.defs.operator_ops import (
    PurgeConfig,
    RecheckConfig,
    ReconcileArchiveConfig,
    ReconcileConfig,
    RetryConfig,
    purge,
    recheck,
    reconcile_archives,
    reconcile_deliveries,
    retry_groups,
)

if TYPE_CHECKING:
    # What `define_asset_job` returns; Dagster does not export it.
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    AssetJob: TypeAlias = UnresolvedAssetJobDefinition


def watch_asset_job(watch: Watch, config: Config, names: Names, hosts: Collection[str] = ()) -> "AssetJob":
    """The job of a watch. Launched without a batch it takes what is ready, like the button."""
    return dg.define_asset_job(
        names.watch_job(watch.name),
        selection=_without_checks([watch], names),
        description=f"Takes groups of {watch.name} from delivery to the archive.",
        tags={**job_tags(config), **queue_tags(hosts), WATCH_TAG: watch.name},
        executor_def=dg.in_process_executor,
    )


def process_now_job(config: Config, names: Names) -> "AssetJob":
    """All watches at once, whether their sensors are on or off."""
    return dg.define_asset_job(
        names.named(PROCESS_NOW_JOB),
        selection=_without_checks(config.watch, names),
        description="Looks at every watch and processes what is ready, in one run.",
        tags={**job_tags(config), **queue_tags(hosts_of_all(config))},
        executor_def=dg.in_process_executor,
    )


def job_tags(config: Config) -> dict[str, str]:
    """Tags of every job's runs."""
    return {**NO_RETRIES, SERVICE_TAG: service_of(config)}


LAUNCHED = (  # by an operator or a schedule: name, op, its configuration unless told otherwise, what it does
    (
        RETRY_JOB,
        retry_groups,
        RetryConfig,
        "Another attempt for groups that failed, now. All of them, unless told which.",
    ),
    (
        RECONCILE_DELIVERY_JOB,
        reconcile_deliveries,
        ReconcileConfig,
        "Compares delivery directories with the database: what is new, what has gone, what is back.",
    ),
    (
        RECONCILE_ARCHIVE_JOB,
        reconcile_archives,
        ReconcileArchiveConfig,
        "Compares the archives with the database, and says what is missing or unknown there.",
    ),
    (
        RECHECK_RULES_JOB,
        recheck,
        RecheckConfig,
        "Looks at rules.toml now, and has judged again what the rules decided against. For a plugin's "
        "function that was repaired; a changed rules.toml is noticed by itself.",
    ),
    (
        PURGE_HISTORY_JOB,
        purge,
        PurgeConfig,
        "Forgets what is older than history_retention, and Dagster's runs older than run_retention. No file "
        "and no copy is ever forgotten.",
    ),
)


def launched_jobs(config: Config, names: Names) -> dict[str, dg.JobDefinition]:
    """The jobs that an operator launches, or a schedule, by their names without a prefix."""
    tags = {**job_tags(config), **queue_tags(hosts_of_all(config))}
    return {name: _job_of(names.named(name), op, asked, does, tags) for name, op, asked, does in LAUNCHED}


def _job_of(
    name: str, op: dg.OpDefinition, asked: type[dg.Config], does: str, tags: Mapping[str, str]
) -> dg.JobDefinition:
    # The configuration that is given here is what the launchpad begins with.
    config = {"ops": {op.name: {"config": asked().model_dump()}}}

    @dg.job(name=name, description=does, config=config, tags=tags, executor_def=dg.in_process_executor)
    def launched() -> None:
        op()

    return launched


def _without_checks(watches: Sequence[Watch], names: Names) -> dg.AssetSelection:
    keys = [names.catalog_key(watch.name) for watch in watches]
    # The run itself says how the checks came out.
    return dg.AssetSelection.assets(*keys) - dg.AssetSelection.checks_for_assets(*keys)
