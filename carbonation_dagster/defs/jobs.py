"""Jobs: one per watch, and those that an operator launches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg
from pydantic import Field

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import Watch
from carbonation_core.delivery.retry import retry as take_again
from carbonation_core.errors import CarbonationError, QueryError, ScanError
from carbonation_core.lifecycle import FileStatus
from carbonation_core.reconcile.archive import archives_of, paths_in
from carbonation_core.reconcile.archive import reconcile_archive as compare_archive
from carbonation_core.reconcile.delivery import reconcile_delivery as reconcile
from carbonation_core.reports.stuck import FAILING
from carbonation_dagster.defs.archive_checks import agreement_metadata, in_words, unreadable, verdict
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
    plain,
    service_of,
)
from carbonation_dagster.defs.operator_ops import PurgeConfig, RecheckConfig, purge, recheck
from carbonation_dagster.defs.resources import Carbonation

if TYPE_CHECKING:
    # What `define_asset_job` returns; Dagster does not export it.
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    AssetJob: TypeAlias = UnresolvedAssetJobDefinition


class Retryable(Enum):
    """The statuses from which a person may ask for another attempt."""

    failed = FileStatus.FAILED.value
    integrity_failed = FileStatus.INTEGRITY_FAILED.value
    timed_out = FileStatus.TIMED_OUT.value
    not_selected = FileStatus.NOT_SELECTED.value
    retry_pending = FileStatus.RETRY_PENDING.value


class RetryConfig(dg.Config):
    """What is to be tried again."""

    watch: str | None = Field(None, description="of this watch only")
    group_key: str | None = Field(None, description="this group only")
    status: Retryable | None = Field(
        None,
        description="files that have this status; else those that failed, and those that wait for their "
        "next attempt",
    )


class ReconcileConfig(dg.Config):
    """What is to be compared."""

    watch: str | None = Field(None, description="this watch only; else all")


class ReconcileArchiveConfig(dg.Config):
    """What is to be compared, and what may follow."""

    archive: str | None = Field(None, description="this archive only; else all")
    watch: str | None = Field(None, description="files of this watch only; else of all")
    paths: list[str] = Field(
        [], description="only below these paths, absolute or relative to base_path; else everywhere"
    )
    dry_run: bool = Field(False, description="say what would change, and change nothing")
    workers: int | None = Field(None, ge=1, le=1000, description="threads; else `workers` of config.toml")
    adopt: bool = Field(False, description="register files that the database knows nothing of")
    force: bool = Field(
        False, description="whatever share of an archive would be called missing; else at most max_loss"
    )


def watch_asset_job(watch: Watch, config: Config, names: Names) -> "AssetJob":
    """The job of a watch. Launched without a batch it takes what is ready, like the button."""
    return dg.define_asset_job(
        names.watch_job(watch.name),
        selection=_without_checks([watch], names),
        description=f"Takes groups of {watch.name} from delivery to the archive.",
        tags={**job_tags(config), WATCH_TAG: watch.name},
        executor_def=dg.in_process_executor,
    )


def process_now_job(config: Config, names: Names) -> "AssetJob":
    """All watches at once, whether their sensors are on or off."""
    return dg.define_asset_job(
        names.named(PROCESS_NOW_JOB),
        selection=_without_checks(config.watch, names),
        description="Looks at every watch and processes what is ready, in one run.",
        tags=job_tags(config),
        executor_def=dg.in_process_executor,
    )


def job_tags(config: Config) -> dict[str, str]:
    """Tags of every job's runs."""
    return {**NO_RETRIES, SERVICE_TAG: service_of(config)}


@dg.op(description="Opens files for another attempt; the sensors' next looks take them.")
def retry_groups(
    context: dg.OpExecutionContext, config: RetryConfig, carbonation: dg.ResourceParam[Carbonation]
) -> dg.Output[int]:
    """Opens groups for another attempt."""
    statuses = [FileStatus(config.status.value)] if config.status else list(FAILING)
    try:
        tried = {
            status: take_again(carbonation.project, config.watch, config.group_key, status)
            for status in statuses
        }
    except CarbonationError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    number = sum(tried.values())
    context.log.info(f"{number} files are tried again; the next look at their watch takes them")
    asked = {"watch": config.watch or "all", "group": plain(config.group_key or "all")}
    counts = {status.value: count for status, count in tried.items()}
    return dg.Output(number, metadata={"files tried again": number, **counts, **asked})


@dg.op(
    out=dg.Out(dg.Nothing),
    description="Compares delivery directories with the database: what is new, what has gone, what is back.",
)
def reconcile_deliveries(
    context: dg.OpExecutionContext, config: ReconcileConfig, carbonation: dg.ResourceParam[Carbonation]
) -> Iterator[dg.AssetObservation | dg.Output[None]]:
    """Compares delivery directories with the database; one that cannot be read stops no other."""
    project, names = carbonation.project, carbonation.names
    watches = [project.config.watch_named(config.watch)] if config.watch else project.config.watch
    unreadable: list[str] = []
    for watch in watches:
        try:
            found = reconcile(project, watch.name)
        except ScanError as error:
            unreadable.append(str(error))
            continue
        context.log.info(
            f"{watch.name}: {found.seen} files seen, {found.new} new, {found.returned} back, "
            f"{found.cleared} gone, {found.rechecked} to be checked again"
        )
        yield dg.AssetObservation(
            names.delivery_key(watch.name),
            metadata={
                "files seen": found.seen,
                "new": found.new,
                "returned": found.returned,
                "cleared": found.cleared,
                "checked again": found.rechecked,
            },
        )
    if unreadable:
        raise dg.Failure("; ".join(unreadable), allow_retries=False)
    yield dg.Output(None)


@dg.op(
    out=dg.Out(dg.Nothing),
    description="Compares archives with the database: what has vanished, what is back, what is unknown.",
)
def reconcile_archives(
    context: dg.OpExecutionContext,
    config: ReconcileArchiveConfig,
    carbonation: dg.ResourceParam[Carbonation],
) -> Iterator[dg.AssetObservation | dg.AssetCheckEvaluation | dg.Output[None]]:
    """Compares archives with the database; one that cannot be read stops no other."""
    project, names = carbonation.project, carbonation.names
    faults: list[str] = []
    try:
        if config.watch is not None:
            project.config.watch_named(config.watch)
        archives = [config.archive] if config.archive else archives_of(project, config.watch)
        scopes = paths_in(project, archives, config.paths)
    except CarbonationError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    for name, part in scopes.items():
        scope = replace(part, watch_name=config.watch)
        try:
            found = compare_archive(
                project,
                name,
                scope,
                dry_run=config.dry_run,
                adopt=config.adopt,
                force=config.force,
                workers=config.workers,
            )
        except (ScanError, QueryError) as error:
            faults.append(str(error))
            if scope.is_whole and isinstance(error, ScanError):
                yield dg.AssetCheckEvaluation(**unreadable(names, name, str(error)))
            continue
        context.log.info(f"{name}: {in_words(found)}")
        yield dg.AssetObservation(names.archive_key(name), metadata=agreement_metadata(found))
        if scope.is_whole:
            yield dg.AssetCheckEvaluation(**verdict(names, found))
        if found.refused:
            faults.append(found.refused)
    if faults:
        raise dg.Failure("; ".join(faults), allow_retries=False)
    yield dg.Output(None)


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
        "function that was mended; a changed rules.toml is noticed by itself.",
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
    tags = job_tags(config)
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
