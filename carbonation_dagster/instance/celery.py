"""Has runs executed by workers on any host, which take them from a queue of Celery: `carbonation worker`.

For dagster.yaml. As dagster-celery's own launcher, and with the same configuration,
but that a run which is cancelled ends as cancelled, and that workers say in our
database that they live: results are kept nowhere, and a run whose host has lost its
power is not waited for.
"""

import logging
from functools import cached_property
from typing import Any

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import pack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from carbonation_core.config.loading import Config, load_config
from carbonation_core.db.clock import clock_of
from carbonation_core.db.columns import jsonable
from carbonation_core.db.engine import Engine, make_engine, reading
from carbonation_core.db.service import parts
from carbonation_core.errors import CarbonationError
from carbonation_core.reports.workers import of_site
from carbonation_dagster.instance.launcher import HOST_TAG

TAKEN_TAG = ".dagster/carbonation_queue_worker"  # the process that took a run from the queue

log = logging.getLogger(__name__)


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

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the worker that took a run is heard of."""
        taken_by, host = run.tags.get(TAKEN_TAG), run.tags.get(HOST_TAG)
        if taken_by is None or self._is_heard(taken_by):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"the worker of host {host} is gone, and the run with it"
        )

    def _is_heard(self, process: str) -> bool:
        try:
            config, engine = self._stored
            site = config.service.site_name
            with reading(engine) as connection:
                workers = of_site(parts(connection, site), site, clock_of(engine)())
        except CarbonationError as error:
            log.warning("whether the workers live cannot be told: %s", error)
            return True
        return any(one.process == process and not one.is_silent for one in workers)

    @cached_property
    def _stored(self) -> tuple[Config, Engine]:
        config = load_config()
        return config, make_engine(config.database, jsonable, config.path)
