"""The runs of a pass: batches that are executed in its own process, as Dagster records them."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime

import dagster as dg

from carbonation_core.config.sections import Watch
from carbonation_core.lifecycle import FAILED_OUTCOMES
from carbonation_core.pipeline.claim import Offer, claim
from carbonation_core.pipeline.work import BatchReport
from carbonation_core.project import Project
from carbonation_dagster.assembly import build_defs
from carbonation_dagster.defs.naming import PASS_TAG, Names, run_tags
from carbonation_dagster.defs.recovery import pass_name, recover, report_dead_passes
from carbonation_dagster.defs.resources import Carbonation
from carbonation_dagster.instance.launcher import HOST_TAG
from carbonation_dagster.service.home import HomeError, prepare_home, require_room, unusable

# Dagster tells every step to stderr, failures with their stack; what a person
# needs of that we say ourselves, and the run in Dagster holds all of it.
SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@contextmanager
def pass_runs(project: Project, reports: list[BatchReport], errors: list[str]) -> Iterator["PassRuns"]:
    """The runs of a pass, which add to its reports and its errors.

    While Dagster's storage cannot be used they are recorded nowhere.
    """
    with ExitStack() as stack:
        try:
            home = prepare_home(project.config)
            require_room(home)
            try:
                instance = stack.enter_context(dg.DagsterInstance.get())
                instance.get_run_records(limit=1)
            except Exception as error:
                raise HomeError(unusable(home, error)) from error
        except HomeError as error:
            # Files are to be archived, whatever there is to show it. Leases keep
            # apart what this pass and others do, and these are in our database.
            errors.append(f"{error}; the UI will not show what this pass did")
            instance = stack.enter_context(dg.DagsterInstance.ephemeral())
        yield PassRuns(project, instance, reports, errors)


class PassRuns:
    """Runs batches in this process."""

    def __init__(
        self,
        project: Project,
        instance: dg.DagsterInstance,
        reports: list[BatchReport],
        errors: list[str],
    ) -> None:
        self._project, self._instance = project, instance
        self._reports, self._errors = reports, errors
        self._name = pass_name()
        self._interrupted = threading.Event()
        carbonation = Carbonation(lambda: project, told=reports.append, interrupted=self._interrupted.is_set)
        self._defs = build_defs(project.config.path, carbonation)
        self._tried: set[str] = set()

    def recover(self) -> None:
        """Give back what processes that died left, and have their runs show as ended."""
        for watch in self._project.config.watch:
            recover(self._project, watch.name, self._instance, self._name)
        report_dead_passes(self._instance)

    def offers(self, watch: Watch, looked: datetime) -> list[Offer]:
        """What waits for a run of ours, and what could be claimed when we looked and was not yet.

        A pass takes a group once: what comes back is for the next one, after another look.
        """
        waiting = recover(self._project, watch.name, self._instance, self._name).waiting
        then = replace(self._project, clock=lambda: looked)
        offers = [*waiting, *claim(then, watch.name, self._name, tried=self._tried)]
        return [offer for offer in offers if offer.batch_id not in self._tried]

    def execute(self, offer: Offer) -> None:
        """Run a batch to its end; what goes wrong outside of its groups is an error of ours.

        After a `KeyboardInterrupt` the groups under way are finished, and the others given back.
        """
        self._tried.add(offer.batch_id)
        told = len(self._reports)
        # In the main thread Dagster would take a signal for the end of this run only, or for nothing.
        with ThreadPoolExecutor(1) as thread:
            run = thread.submit(self._run, offer)
            try:
                result = run.result()
            except KeyboardInterrupt:
                self._interrupted.set()
                raise
        reports = self._reports[told:]
        if not result.success and not any(report.with_outcome(*FAILED_OUTCOMES) for report in reports):
            self._errors.append(
                f"run {result.run_id} of watch {offer.watch_name} broke off: {_reason(result)}"
            )

    def _run(self, offer: Offer) -> dg.ExecuteInProcessResult:
        return self._defs.resolve_job_def(Names().watch_job(offer.watch_name)).execute_in_process(
            run_config=SILENT,
            instance=self._instance,
            tags={**run_tags(offer), PASS_TAG: self._name, HOST_TAG: socket.gethostname()},
            raise_on_error=False,
        )


def _reason(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            cause = error.cause or error
            return cause.message.strip()
    return "its run in Dagster says more"
