"""Schedules: what is done at intervals and is a run of its own."""

import dagster as dg

from carbonation_core.config import Config
from carbonation_core.toml import format_duration
from carbonation_dagster.jobs import reconcile_archive_job, reconcile_delivery_job
from carbonation_dagster.resources import Carbonation
from carbonation_dagster.runs import last_start_of


def reconcile_schedules(config: Config) -> list[dg.ScheduleDefinition]:
    """Reconcile delivery and archives, each in a run of its own."""
    return [
        _each_interval(config, reconcile_delivery_job, "Compares delivery with the database"),
        _each_interval(config, reconcile_archive_job, "Compares the archives with the database"),
    ]


def _each_interval(config: Config, job: dg.JobDefinition, does: str) -> dg.ScheduleDefinition:
    """Launches a job each `reconcile_interval`, which no cron line can say in general."""
    interval = config.service.reconcile_interval

    @dg.schedule(
        name=job.name,
        job=job,
        cron_schedule="* * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{does} every {format_duration(interval)}.",
    )
    def when_due(
        context: dg.ScheduleEvaluationContext, carbonation: dg.ResourceParam[Carbonation]
    ) -> dg.RunRequest | dg.SkipReason:
        if carbonation.stopping():
            return dg.SkipReason("the service is stopping")
        last = last_start_of(context.instance, job.name)
        now = context.scheduled_execution_time.timestamp()
        due_in = 0.0 if last is None else last + interval.total_seconds() - now
        if due_in > 0:
            return dg.SkipReason(f"due in {due_in / 60:.0f} min")
        return dg.RunRequest()

    return when_due
