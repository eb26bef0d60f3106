"""Ops that keep a deployment in shape: rules checked again, history and old runs forgotten."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
from pydantic import Field

from carbonation_core.delivery.retry import recheck_rules
from carbonation_core.errors import CarbonationError
from carbonation_core.purge import purge_history
from carbonation_core.text import format_duration, parse_duration
from carbonation_dagster.defs.naming import plain
from carbonation_dagster.defs.resources import Carbonation
from carbonation_dagster.defs.runs import Ours, delete_old_runs


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
    context.log.info(f"{number} files are judged again by rules {found.digest[:12]}")
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
    context.log.info(f"{purged.changes} changes of status, {purged.batches} batches, {deleted} runs {done}")
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
        return parse_duration(given)
    except ValueError as error:
        raise dg.Failure(f'{name}: {error}, not "{given}"', allow_retries=False) from None
