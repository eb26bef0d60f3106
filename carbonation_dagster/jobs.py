"""Jobs: one per watch, and those that an operator launches."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg
from pydantic import Field

from carbonation_core.config import Config, Watch
from carbonation_core.errors import CarbonationError, QueryError, ScanError
from carbonation_core.lifecycle import FileStatus
from carbonation_core.reconcile import reconcile_delivery as reconcile
from carbonation_core.reconcile_archive import archives_of, paths_in
from carbonation_core.reconcile_archive import reconcile_archive as compare_archive
from carbonation_core.retry import retry as take_again
from carbonation_dagster.agreement import agreement_metadata, in_words, unreadable, verdict
from carbonation_dagster.naming import (
    NO_RETRIES,
    PROCESS_NOW_JOB,
    RECONCILE_ARCHIVE_JOB,
    RECONCILE_DELIVERY_JOB,
    RETRY_JOB,
    WATCH_TAG,
    archive_key,
    catalog_key,
    delivery_key,
    watch_job,
)
from carbonation_dagster.resources import Carbonation

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


class RetryConfig(dg.Config):
    """What is to be tried again."""

    watch: str | None = Field(None, description="of this watch only")
    group_key: str | None = Field(None, description="this group only")
    status: Retryable = Field(Retryable.failed, description="groups whose files have this status")


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
    workers: int | None = Field(None, ge=1, description="threads; else `workers` of config.toml")
    adopt: bool = Field(False, description="register files that the database knows nothing of")
    force: bool = Field(
        False, description="whatever share of an archive would be called missing; else at most max_loss"
    )


def watch_asset_job(watch: Watch) -> "AssetJob":
    """The job of a watch. Launched without a batch it takes what is ready, like the button."""
    return dg.define_asset_job(
        watch_job(watch.name),
        selection=_without_checks([watch]),
        description=f"Takes groups of {watch.name} from delivery to the archive.",
        tags={**NO_RETRIES, WATCH_TAG: watch.name},
        executor_def=dg.in_process_executor,
    )


def process_now_job(config: Config) -> "AssetJob":
    """All watches at once, whether their sensors are on or off."""
    return dg.define_asset_job(
        PROCESS_NOW_JOB,
        selection=_without_checks(config.watch),
        description="Looks at every watch and processes what is ready, in one run.",
        tags=NO_RETRIES,
        executor_def=dg.in_process_executor,
    )


@dg.op(description="Opens groups for another attempt; the sensors' next looks take them.")
def retry_groups(
    context: dg.OpExecutionContext, config: RetryConfig, carbonation: dg.ResourceParam[Carbonation]
) -> dg.Output[int]:
    """Opens groups for another attempt."""
    status = FileStatus(config.status.value)
    try:
        number = take_again(carbonation.project, config.watch, config.group_key, status)
    except CarbonationError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info("%d groups are tried again", number)
    return dg.Output(number, metadata={"groups": number})


@dg.op(
    out=dg.Out(dg.Nothing),
    description="Compares delivery directories with the database: what is new, what has gone, what is back.",
)
def reconcile_deliveries(
    context: dg.OpExecutionContext, config: ReconcileConfig, carbonation: dg.ResourceParam[Carbonation]
) -> Iterator[dg.AssetObservation | dg.Output[None]]:
    """Compares delivery directories with the database; one that cannot be read stops no other."""
    project = carbonation.project
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
            delivery_key(watch.name),
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
    project = carbonation.project
    faults: list[str] = []
    try:
        if config.watch is not None:
            project.config.watch_named(config.watch)
        names = [config.archive] if config.archive else archives_of(project, config.watch)
        scopes = paths_in(project, names, config.paths)
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
                yield dg.AssetCheckEvaluation(**unreadable(name, str(error)))
            continue
        context.log.info(f"{name}: {in_words(found)}")
        yield dg.AssetObservation(archive_key(name), metadata=agreement_metadata(found))
        if scope.is_whole:
            yield dg.AssetCheckEvaluation(**verdict(found))
        if found.refused:
            faults.append(found.refused)
    if faults:
        raise dg.Failure("; ".join(faults), allow_retries=False)
    yield dg.Output(None)


@dg.job(
    name=RETRY_JOB,
    description="Another attempt for groups that failed, now. All of them, unless told which.",
    tags=NO_RETRIES,
    executor_def=dg.in_process_executor,
)
def retry_job() -> None:
    """Another attempt for groups that failed."""
    retry_groups()


@dg.job(
    name=RECONCILE_DELIVERY_JOB,
    description="Compares delivery directories with the database.",
    tags=NO_RETRIES,
    executor_def=dg.in_process_executor,
)
def reconcile_delivery_job() -> None:
    """Compares delivery directories with the database."""
    reconcile_deliveries()


@dg.job(
    name=RECONCILE_ARCHIVE_JOB,
    description="Compares the archives with the database, and says what is missing or unknown there.",
    tags=NO_RETRIES,
    executor_def=dg.in_process_executor,
)
def reconcile_archive_job() -> None:
    """Compares the archives with the database."""
    reconcile_archives()


def _without_checks(watches: Sequence[Watch]) -> dg.AssetSelection:
    selection = dg.AssetSelection.assets(*(catalog_key(watch.name) for watch in watches))
    # The run itself says how the checks came out.
    return selection - dg.AssetSelection.checks_for_assets(*(catalog_key(watch.name) for watch in watches))
