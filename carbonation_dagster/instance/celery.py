"""Has runs executed by workers on any host, which take them from a queue of Celery: `carbonation worker`.

For dagster.yaml. As dagster-celery's own launcher, and with the same configuration,
but that a run which is cancelled ends as cancelled, and that workers say in our
database that they live: results are kept nowhere, a run whose host has lost its
power is not waited for, and one that waits behind others may wait for long.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import pack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG

from carbonation_core.config.loading import Config, load_config
from carbonation_core.db.clock import clock_of
from carbonation_core.db.columns import jsonable
from carbonation_core.db.engine import Engine, make_engine, reading
from carbonation_core.db.service import parts
from carbonation_core.errors import CarbonationError
from carbonation_core.reports.workers import QueueWorker, of_site
from carbonation_dagster.instance.launcher import HOST_TAG

TAKEN_TAG = ".dagster/carbonation_queue_worker"  # the process that took a run from the queue
LOST_AFTER = timedelta(minutes=1)  # beside a free slot: whoever has one takes a run at once
UNASKED_AFTER = timedelta(hours=1)  # without a worker: its groups are offered anew, perhaps to other hosts
_FORGOTTEN_AFTER = timedelta(minutes=10)  # without a question: the run has begun, or ended

log = logging.getLogger(__name__)


class _Obstacle(NamedTuple):
    """Why a run may never begin, as was said then; it will not once that has been so for `most`."""

    reason: str
    most: timedelta
    said_at: datetime


class _Seen(NamedTuple):
    """What is in the way of a run, when that was seen first, and when last."""

    reason: str
    since: datetime
    asked_at: datetime


class QueueRunLauncher(CeleryRunLauncher):
    """Dagster's launcher for Celery, with another end for runs that are cancelled or whose worker is gone."""

    def app_args(self) -> dict[str, Any]:
        """How the application of Celery is made: without a backend, as nobody asks it for results."""
        return {**super().app_args(), "backend": "disabled://"}

    def launch_run(self, context: LaunchRunContext) -> None:
        """Put the run into its queue."""
        run = context.dagster_run
        origin = run.job_code_origin
        assert origin is not None
        args = ExecuteRunArgs(origin, run.run_id, self._instance.get_ref(), set_exit_code_on_failure=True)
        packed = {"execute_job_args_packed": pack_value(args)}
        # By its name: a task that is registered at each launch is warned of.
        task: Any = self.celery.signature(TASK_EXECUTE_JOB_NAME, kwargs=packed, immutable=True)
        self._launch_celery_task_run(run, task.set(ignore_result=True), TASK_EXECUTE_JOB_NAME)

    def terminate(self, run_id: str) -> bool:
        """Have a run end; whether it was told to."""
        run = self._instance.get_run_by_id(run_id)
        task = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG) if run is not None else None
        if run is None or run.is_finished or task is None:
            return False
        self._instance.report_run_canceling(run)
        self.celery.control.revoke(task, terminate=True, signal="SIGINT")
        if TAKEN_TAG not in run.tags:
            self._instance.report_run_canceled(run)  # nobody else will say so
        return True

    @property
    def supports_resume_run(self) -> bool:
        """That nobody goes on with a run whose worker is gone: its groups are in another one then."""
        return False

    def get_run_worker_debug_info(
        self, run: dg.DagsterRun, include_container_logs: bool | None = True
    ) -> str | None:
        """Nothing: the results of Celery, which Dagster's own asks for, are kept nowhere."""
        return None

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the worker that took a run is heard of."""
        known = self._known() if TAKEN_TAG in run.tags else None
        if known is None or _is_taken_by_any(run, known[0]):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, _gone(run))

    def why_lost(self, run: dg.DagsterRun, longest: timedelta) -> str | None:
        """Why a run that was launched will never begin; None while it may. To be asked now and then.

        In its queue it may wait for as long as the workers there are busy. `longest`:
        how long one that was taken may need to begin.
        """
        known = self._known()
        if known is None:
            return None
        workers, now = known
        seen = {id_: one for id_, one in self._seen.items() if now - one.asked_at < _FORGOTTEN_AFTER}
        before, self._seen = seen.pop(run.run_id, None), seen
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, self.default_queue)
        found = _obstacle(run, queue, workers, longest, now)
        if found is None:
            return None
        since = before.since if before is not None and before.reason == found.reason else now
        seen[run.run_id] = _Seen(found.reason, since, now)
        is_so = found.said_at >= since and now - since >= found.most
        return found.reason if is_so else None

    @cached_property
    def _seen(self) -> dict[str, _Seen]:
        return {}

    def _known(self) -> tuple[list[QueueWorker], datetime] | None:
        """The workers, and the time; None when the database does not say."""
        try:
            config, engine = self._stored
            site, now = config.service.site_name, clock_of(engine)()
            with reading(engine) as connection:
                return of_site(parts(connection, site), site, now), now
        except CarbonationError as error:
            log.warning("whether the workers live cannot be told: %s", error)
            return None

    @cached_property
    def _stored(self) -> tuple[Config, Engine]:
        config = load_config()
        return config, make_engine(config.database, jsonable, config.path)


def _obstacle(
    run: dg.DagsterRun, queue: str, workers: Sequence[QueueWorker], longest: timedelta, now: datetime
) -> _Obstacle | None:
    """What is in the way of a run that has not begun; None where it waits for others to end."""
    if TAKEN_TAG in run.tags:
        if not _is_taken_by_any(run, workers):
            return _Obstacle(_gone(run), timedelta(0), now)
        return _Obstacle(f"host {run.tags.get(HOST_TAG)} took it, and does not begin", longest, now)
    serving = [one for one in workers if not one.is_silent and queue in one.queues]
    if not serving:
        return _Obstacle(f"no worker takes runs from queue {queue}", UNASKED_AFTER, now)
    # One that has died has a free slot, too, by its last word: another word has to come.
    words = [one.last_heartbeat for one in serving if one.takes_runs and one.busy < one.slots]
    if not words:
        return None
    reason = f"queue {queue} did not bring it to a worker that had a free slot for a minute"
    return _Obstacle(reason, LOST_AFTER, max(words))


def _is_taken_by_any(run: dg.DagsterRun, workers: Sequence[QueueWorker]) -> bool:
    return any(one.process == run.tags[TAKEN_TAG] and not one.is_silent for one in workers)


def _gone(run: dg.DagsterRun) -> str:
    return f"the worker of host {run.tags.get(HOST_TAG)} is gone, and the run with it"
