"""What Dagster knows of runs, and of its daemon.

Every use of its API that is not marked public is here, but for that of
`code_server`.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from carbonation_core.config.loading import Config
from carbonation_dagster.defs.naming import BATCH_TAG, SERVICE_TAG, Names, service_of

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
PAGE = 100  # runs that are asked for at a time
_BUTTON = "__ASSET_JOB"  # of which the UI's "Materialize" makes a run; the name is not exported


@dataclass(frozen=True)
class Ours:
    """Which runs are of one service; others may share its Dagster."""

    names: Names
    config: Config

    @property
    def tag(self) -> dict[str, str]:
        """The tag of the runs of its jobs."""
        return {SERVICE_TAG: service_of(self.config)}

    @property
    def assets(self) -> set[dg.AssetKey]:
        """All its assets."""
        watches = [watch.name for watch in self.config.watch]
        return {
            self.names.rules_key,
            *map(self.names.delivery_key, watches),
            *map(self.names.catalog_key, watches),
            *map(self.names.report_key, watches),
            *(self.names.archive_key(archive.name) for archive in self.config.archive),
        }

    def has(self, run: dg.DagsterRun) -> bool:
        """Whether the run is of this service: one of its jobs, or of its assets and no others."""
        if self.tag.items() <= run.tags.items():
            return True
        chosen = set(run.asset_selection or ()) | {key.asset_key for key in run.asset_check_selection or ()}
        return bool(chosen) and chosen <= self.assets


LAUNCHED_TAG = ".dagster/grpc_info"  # of a run that a code server was told to start


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


def failed_runs(
    instance: dg.DagsterInstance, since: float, cursor: str | None
) -> tuple[list[tuple[dg.DagsterRun, str, float]], str]:
    """Runs that failed after a time and a cursor: each with its reason and when; and the next cursor.

    In the order in which the storage was told, so that none is missed, whatever
    the clocks of the machines that they ran on.
    """
    failed = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_timestamp=since)
    found: list[tuple[dg.DagsterRun, str, float]] = []
    while True:
        page = instance.fetch_run_status_changes(failed, limit=PAGE, cursor=cursor, ascending=True)
        for record in page.records:
            run = instance.get_run_by_id(record.run_id)
            if run is not None:
                said = record.event_log_entry.user_message or record.event_log_entry.message
                found.append((run, _failure_of(instance, run.run_id) or said, record.timestamp))
        cursor = page.cursor
        if not page.has_more:
            return found, cursor


def _failure_of(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """What the step that failed said."""
    # Not public; the event of the run itself only names the step.
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1).records
    event = records[0].event_log_entry.dagster_event if records else None
    if event is None or not event.is_step_failure:
        return None
    told = event.step_failure_data
    if told.user_failure_data is not None and told.user_failure_data.description:
        return told.user_failure_data.description
    error = told.error and (told.error.cause or told.error)
    return error.message.strip() if error else None


def failed_by(instance: dg.DagsterInstance, run_id: str, kind: type[Exception]) -> bool:
    """Whether it was an exception of that kind, or of one derived from it, that a run failed by."""
    # Not public, as above; only names are kept of exceptions.
    names = {kind.__name__, *(derived.__name__ for derived in kind.__subclasses__())}
    of_failures = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for record in instance.get_records_for_run(run_id, of_type=of_failures).records:
        event = record.event_log_entry.dagster_event
        error = getattr(event and event.event_specific_data, "error", None)
        while error is not None:
            if error.cls_name in names:
                return True
            error = error.cause
    return False


def last_evaluation(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey
) -> tuple[dg.AssetCheckEvaluation, float] | None:
    """How a check came out last, and when; None while it never did."""
    # Not public; nothing that is tells of checks but the web server.
    record = instance.get_latest_asset_check_evaluation_record(key)
    event = record.event.dagster_event if record is not None and record.event is not None else None
    if record is None or event is None or not isinstance(event.event_specific_data, dg.AssetCheckEvaluation):
        return None
    return event.event_specific_data, record.create_timestamp


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


def report_orphans(instance: dg.DagsterInstance) -> None:
    """Make every run that a code server started show as ended. Only for who knows that none lives.

    One that has not begun was nobody's fault; its batch comes again as it is.
    """
    status = dg.DagsterRunStatus
    started = dg.RunsFilter(statuses=[status.STARTING, status.STARTED, status.CANCELING])
    for record in instance.get_run_records(started):
        run = record.dagster_run
        if LAUNCHED_TAG not in run.tags:
            continue
        if run.status is status.STARTED:
            report_dead(instance, run, "the process of the run is gone")
        else:
            # Not public, as report_run_failed is not.
            instance.report_run_canceled(run, "the run never began, and its process is gone")


def heartbeats(instance: dg.DagsterInstance) -> dict[str, float | None]:
    """When each of the loops that the daemon must run last said that it lives, as a Unix time."""
    # Not public; the UI shows the same.
    known = instance.get_daemon_heartbeats()
    return {
        loop: known[loop].timestamp if loop in known else None
        for loop in instance.get_required_daemon_types()
    }


def forget_heartbeats(instance: dg.DagsterInstance) -> None:
    """After our daemon has ended: what it last said would look like one that lives."""
    instance.wipe_daemon_heartbeats()


def tick_threads(instance: dg.DagsterInstance) -> int:
    """How many sensors' ticks the daemon has under way at a time; 0 when it takes them one by one."""
    sensors = instance.get_settings("sensors") or {}
    return int(sensors.get("num_workers") or 0) if sensors.get("use_threads") else 0


def seconds_since_start(instance: dg.DagsterInstance, run_id: str, now: float) -> float:
    """How long a run has been going, in seconds; 0 when Dagster does not know yet."""
    records = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]), limit=1)
    started = records[0].start_time if records else None
    return max(0.0, now - started) if started else 0.0


def last_start_of(instance: dg.DagsterInstance, job_name: str) -> float | None:
    """When the newest run of a job was made, as a Unix time."""
    records = instance.get_run_records(dg.RunsFilter(job_name=job_name), limit=1)
    return records[0].create_timestamp.timestamp() if records else None


def delete_old_runs(
    instance: dg.DagsterInstance,
    ours: Ours,
    before: datetime,
    *,
    dry_run: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Delete the finished runs of a service that were made before a time, with events and logs; how many."""
    deleted = 0
    for run_id in _old_runs(instance, ours, before):
        if stop():
            break
        if not dry_run:
            instance.delete_run(run_id)
            with suppress(NotImplementedError):  # of a log manager that keeps its own time
                # Not public, and forgotten by `delete_run`: what the run wrote to its streams.
                instance.compute_log_manager.delete_logs(prefix=[run_id])
        deleted += 1
    return deleted


def _old_runs(instance: dg.DagsterInstance, ours: Ours, before: datetime) -> list[str]:
    """All of them, before any is deleted: a page begins after a run that must still be there."""
    found: dict[str, None] = {}
    for filters in (
        dg.RunsFilter(statuses=FINISHED, tags=ours.tag, created_before=before),
        dg.RunsFilter(statuses=FINISHED, job_name=_BUTTON, created_before=before),
    ):
        cursor: str | None = None
        while records := instance.get_run_records(filters, limit=PAGE, cursor=cursor):
            runs = [record.dagster_run for record in records]
            cursor = runs[-1].run_id
            found |= {run.run_id: None for run in runs if ours.has(run)}
    return list(found)
