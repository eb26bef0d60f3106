"""What Dagster knows of runs. Every use of its API that is not marked public is here."""

from collections.abc import Mapping

import dagster as dg

from carbonation_dagster.naming import BATCH_TAG


def instance_id(instance: dg.DagsterInstance) -> str:
    """The name of a Dagster instance, the same for all who share its run storage."""
    # Not public, and only of the SQL storages, which all real ones are. It is
    # kept in the storage itself, so that daemons on several hosts agree upon it.
    identify = getattr(instance.run_storage, "get_run_storage_id", None)
    return str(identify()) if identify is not None else str(instance.root_directory)


def run_of_batch(instance: dg.DagsterInstance, batch_id: str) -> dg.DagsterRun | None:
    """The newest run that was requested for a batch."""
    records = instance.get_run_records(dg.RunsFilter(tags={BATCH_TAG: batch_id}), limit=1)
    return records[0].dagster_run if records else None


def add_tags(instance: dg.DagsterInstance, run_id: str, tags: Mapping[str, str]) -> None:
    """Tag a run that is under way."""
    # Not public; the button's run has no other way to say which batches it took.
    instance.add_run_tags(run_id, dict(tags))


def run_tags_now(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, str]:
    """A run's tags, with those that were added since it began."""
    run = instance.get_run_by_id(run_id)
    return run.tags if run is not None else {}


def report_dead(instance: dg.DagsterInstance, run: dg.DagsterRun, reason: str) -> None:
    """Make a run whose process is gone show as failed."""
    # Not public; the monitoring daemon does the same, but not for a run of
    # `carbonation run --once`, which no launcher knows.
    instance.report_run_failed(run, reason)


def seconds_since_start(instance: dg.DagsterInstance, run_id: str, now: float) -> float:
    """How long a run has been going, in seconds; 0 when Dagster does not know yet."""
    records = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]), limit=1)
    started = records[0].start_time if records else None
    return max(0.0, now - started) if started else 0.0


def last_start_of(instance: dg.DagsterInstance, job_name: str) -> float | None:
    """When the newest run of a job was made, as a Unix time."""
    records = instance.get_run_records(dg.RunsFilter(job_name=job_name), limit=1)
    return records[0].create_timestamp.timestamp() if records else None
