"""What an operator launches, or a schedule: retries, comparisons, rules checked again, history forgotten."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from enum import Enum

import dagster as dg
from pydantic import Field

from carbonation_core.delivery.retry import recheck_rules, retry
from carbonation_core.errors import CarbonationError, QueryError, ScanError
from carbonation_core.lifecycle import FAILING, FileStatus
from carbonation_core.purge import purge_history
from carbonation_core.reconcile.archive import reconcile_archive
from carbonation_core.reconcile.delivery import reconcile_delivery
from carbonation_core.reconcile.scope import archives_of, paths_in
from carbonation_core.text import LONGEST_AGE, counted, format_duration, parse_duration
from carbonation_dagster.defs.archive_checks import (
    agreement_metadata,
    agreement_verdict,
    in_words,
    unreadable_verdict,
)
from carbonation_dagster.defs.naming import plain
from carbonation_dagster.defs.resources import Carbonation
from carbonation_dagster.defs.runs import Ours, delete_old_runs


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


class RecheckConfig(dg.Config):
    """What is to be judged again."""

    watch: str | None = Field(None, description="of this watch only")


class PurgeConfig(dg.Config):
    """How old is old enough."""

    history_retention: str | None = Field(
        None,
        description='changes of status and batches older than this, such as "90d"; else as in config.toml',
    )
    run_retention: str | None = Field(
        None, description='runs in Dagster that ended before this, such as "7d"; else as in config.toml'
    )
    dry_run: bool = Field(False, description="say what would be forgotten, and forget nothing")


@dg.op(description="Opens files for another attempt; the sensors' next looks take them.")
def retry_groups(
    context: dg.OpExecutionContext, config: RetryConfig, carbonation: dg.ResourceParam[Carbonation]
) -> dg.Output[int]:
    """Opens groups for another attempt."""
    statuses = [FileStatus(config.status.value)] if config.status else list(FAILING)
    try:
        tried = {
            status: retry(carbonation.project, config.watch, config.group_key, status) for status in statuses
        }
    except CarbonationError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    number = sum(tried.values())
    context.log.info(f"{counted(number, 'file')} to be tried again; the next look takes what is there")
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
            found = reconcile_delivery(project, watch.name)
        except ScanError as error:
            unreadable.append(str(error))
            continue
        context.log.info(
            f"{watch.name}: {counted(found.seen, 'file')} seen, {found.new} new, {found.returned} back, "
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
            found = reconcile_archive(
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
                yield dg.AssetCheckEvaluation(**unreadable_verdict(names, name, str(error)))
            continue
        context.log.info(f"{name}: {in_words(found)}")
        yield dg.AssetObservation(names.archive_key(name), metadata=agreement_metadata(found))
        if scope.is_whole:
            yield dg.AssetCheckEvaluation(**agreement_verdict(names, found))
        if found.refused:
            faults.append(found.refused)
    if faults:
        raise dg.Failure("; ".join(faults), allow_retries=False)
    yield dg.Output(None)


@dg.op(
    name="recheck",
    description="Looks at rules.toml, and has judged again what the rules decided against.",
)
def recheck(
    context: dg.OpExecutionContext, config: RecheckConfig, carbonation: dg.ResourceParam[Carbonation]
) -> Iterator[dg.Output[int]]:
    """Looks at rules.toml now; a file that is refused fails the run after the rest was done."""
    try:
        found = recheck_rules(carbonation.project, config.watch)
    except CarbonationError as error:
        raise dg.Failure(plain(str(error)), allow_retries=False) from error
    number = sum(found.judged_again.values())
    context.log.info(f"{counted(number, 'file')} to be judged again by rules {found.digest[:12]}")
    yield dg.Output(
        number,
        metadata={
            "files judged again": number,
            **{status.value: count for status, count in found.judged_again.items()},
            "digest before": found.digest_before or "none",
            "digest": found.digest,
            "watch": config.watch or "all",
        },
    )
    if found.refused is not None:
        raise dg.Failure(
            f"rules.toml is refused, so that rules {found.digest[:12]} stay in force: {plain(found.refused)}",
            allow_retries=False,
        )


@dg.op(name="purge", description="Forgets old history and old runs, as config.toml says or as told here.")
def purge(
    context: dg.OpExecutionContext, config: PurgeConfig, carbonation: dg.ResourceParam[Carbonation]
) -> dg.Output[int]:
    """Forgets old history, and old runs of this service alone."""
    project, service = carbonation.project, carbonation.project.config.service
    history = _age("history_retention", config.history_retention, service.history_retention)
    runs = _age("run_retention", config.run_retention, service.run_retention)
    purged = purge_history(project, history, dry_run=config.dry_run, stop=carbonation.stopping)
    before = project.clock() - runs
    ours = Ours(carbonation.names, project.config)
    deleted = delete_old_runs(
        context.instance, ours, before, dry_run=config.dry_run, stop=carbonation.stopping
    )
    done = "would be forgotten" if config.dry_run else "are forgotten"
    context.log.info(
        f"{counted(purged.changes, 'change')} of status, {counted(purged.batches, 'batch')}, "
        f"{counted(deleted, 'run')} {done}"
    )
    return dg.Output(
        deleted,
        metadata={
            "changes of status": purged.changes,
            "batches": purged.batches,
            "runs": deleted,
            "history older than": format_duration(history),
            "runs older than": format_duration(runs),
            "dry run": config.dry_run,
        },
    )


def _age(name: str, given: str | None, usual: timedelta) -> timedelta:
    if given is None:
        return usual
    try:
        return parse_duration(given, longest=LONGEST_AGE)
    except ValueError as error:
        raise dg.Failure(f'{name}: {error}, not "{given}"', allow_retries=False) from None
