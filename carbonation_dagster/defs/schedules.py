"""Schedules: what is done at intervals and is a run of its own."""

from collections.abc import Mapping
from datetime import timedelta

import dagster as dg

from carbonation_core.config.loading import Config
from carbonation_core.text import format_duration
from carbonation_dagster.defs.naming import PURGE_HISTORY_JOB, RECONCILE_ARCHIVE_JOB, RECONCILE_DELIVERY_JOB
from carbonation_dagster.defs.resources import Carbonation
from carbonation_dagster.defs.runs import last_start_of

PURGE_INTERVAL = timedelta(days=1)
OFTEN = timedelta(hours=2)  # what is due more often than this is asked for each minute
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def schedules(
    config: Config, jobs: Mapping[str, dg.JobDefinition], *, start: bool = True
) -> list[dg.ScheduleDefinition]:
    """Reconciling and purging, each in a run of its own; `jobs` by their names without a prefix."""
    reconcile = config.service.reconcile_interval
    return [
        _each(reconcile, jobs[RECONCILE_DELIVERY_JOB], "Compares delivery with the database", start=start),
        _each(reconcile, jobs[RECONCILE_ARCHIVE_JOB], "Compares the archives with the database", start=start),
        _each(PURGE_INTERVAL, jobs[PURGE_HISTORY_JOB], "Forgets old history and old runs", start=start),
    ]


def cron_line(interval: timedelta) -> str | None:
    """The cron line that ticks at this interval; None where there is none, as for 7 minutes or 36 hours."""
    minutes, rest = divmod(interval, MINUTE)
    if rest or not minutes:
        return None
    if HOUR % interval == timedelta(0):
        return "0 * * * *" if interval == HOUR else f"*/{minutes} * * * *"
    if DAY % interval == timedelta(0) and interval % HOUR == timedelta(0):
        return "0 0 * * *" if interval == DAY else f"0 */{interval // HOUR} * * *"
    return "0 0 * * 0" if interval == 7 * DAY else None


def _each(interval: timedelta, job: dg.JobDefinition, does: str, *, start: bool) -> dg.ScheduleDefinition:
    """Launches a job at an interval: by the clock if a cron line says it, else so long after its last run."""
    line = cron_line(interval)

    @dg.schedule(
        name=job.name,
        job=job,
        # The UI's timeline shows each tick that is to come.
        cron_schedule=line or ("* * * * *" if interval < OFTEN else "*/10 * * * *"),
        default_status=dg.DefaultScheduleStatus.RUNNING if start else dg.DefaultScheduleStatus.STOPPED,
        description=f"{does} every {format_duration(interval)}.",
    )
    def when_due(
        context: dg.ScheduleEvaluationContext, carbonation: dg.ResourceParam[Carbonation]
    ) -> dg.RunRequest | dg.SkipReason:
        if carbonation.stopping():
            return dg.SkipReason("the service is stopping")
        if line is not None:
            return dg.RunRequest()
        last = last_start_of(context.instance, job.name)
        now = context.scheduled_execution_time.timestamp()
        due_in = 0.0 if last is None else last + interval.total_seconds() - now
        if due_in > 0:
            return dg.SkipReason(f"due in {due_in / 60:.0f} min")
        return dg.RunRequest()

    return when_due
