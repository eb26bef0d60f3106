"""The runs of a pass: batches that are executed in it, as Dagster records them."""

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

import dagster as dg

from carbonation_core.config.sections import Watch
from carbonation_core.errors import Superseded
from carbonation_core.lifecycle import FAILED_OUTCOMES
from carbonation_core.pipeline.batch_report import BatchReport
from carbonation_core.pipeline.claim import Offer, claim
from carbonation_core.project import Project
from carbonation_core.reports.heartbeat import Pulse
from carbonation_dagster.assembly import build_defs
from carbonation_dagster.defs.naming import PASS_TAG, Names, run_tags
from carbonation_dagster.defs.recovery import pass_name, recover, report_dead_passes
from carbonation_dagster.defs.resources import Carbonation
from carbonation_dagster.instance.launcher import HOST_TAG
from carbonation_dagster.pass_hands import Done, Hands, hands, number_of_hands
from carbonation_dagster.service.home import HomeError, prepare_home, require_room, unusable

# Dagster tells every step to stderr, failures with their stack; what a person
# needs of that we say ourselves, and the run in Dagster holds all of it.
SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@contextmanager
def pass_runs(
    project: Project, reports: list[BatchReport], errors: list[str], pulse: Pulse
) -> Iterator["PassRuns"]:
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
        yield PassRuns(project, instance, reports, errors, pulse)


class PassRuns:
    """Runs batches, several at a time where there are many groups."""

    def __init__(
        self,
        project: Project,
        instance: dg.DagsterInstance,
        reports: list[BatchReport],
        errors: list[str],
        pulse: Pulse,
    ) -> None:
        self._project, self._instance, self._pulse = project, instance, pulse
        self._reports, self._errors = reports, errors
        self._name = pass_name()
        self._tried: set[str] = set()

    def recover(self) -> None:
        """Give back what processes that died left, and have their runs show as ended."""
        for watch in self._project.config.watch:
            recover(self._project, watch.name, self._instance, self._name)
        report_dead_passes(self._instance)

    def work(self, watches: Sequence[Watch], looked: datetime, groups: int) -> None:
        """Do all that waits for a run of ours, and what could be claimed when we looked; some `groups`.

        After a `KeyboardInterrupt` the groups under way are finished, and the others given back.
        """
        # What is recorded in the memory of a fork is not seen here.
        number = 1 if self._instance.is_ephemeral else number_of_hands(self._project, groups)
        with hands(self._project, number, partial(_runner, self._project, self._instance, self._name)) as our:
            try:
                for watch in watches:
                    self._work_on(watch, looked, our)
            except BrokenExecutor:
                self._errors.append(
                    "a process of this pass was killed; the next pass takes what was under way"
                )

    def _work_on(self, watch: Watch, looked: datetime, our: Hands) -> None:
        under_way: set[Future[Done]] = set()
        try:
            while True:
                for offer in self._offers(watch, looked, our.number):
                    self._tried.add(offer.batch_id)
                    under_way.add(our.executor.submit(our.run, offer))
                if not under_way:
                    return
                ended, under_way = wait(under_way, self._pulse.interval, FIRST_COMPLETED)
                self._pulse.beat_when_due()
                self._note(ended)
        except KeyboardInterrupt:
            our.interrupted.set()
            with suppress(BrokenExecutor):  # the forks may have heard the signal, too
                self._note(wait([future for future in under_way if not future.cancel()]).done)
            raise

    def _offers(self, watch: Watch, looked: datetime, number: int) -> list[Offer]:
        """What waits for a run of ours, and what could be claimed when we looked and was not yet.

        A pass takes a group once: what comes back is for the next one, after another look.
        """
        waiting = recover(self._project, watch.name, self._instance, self._name).waiting
        then = replace(self._project, clock=lambda: looked)
        slots = None if number == 1 else number
        try:
            claimed = claim(then, watch.name, self._name, slots, self._tried)
        except Superseded as error:
            claimed = []
            self._errors += {str(error)}.difference(self._errors)
        offers = [*waiting, *claimed]
        return [offer for offer in offers if offer.batch_id not in self._tried]

    def _note(self, ended: Iterable["Future[Done]"]) -> None:
        for future in ended:
            done = future.result()
            self._reports += done.reports
            self._errors += [done.error] if done.error else []


def _runner(
    project: Project, instance: dg.DagsterInstance, name: str, interrupted: Callable[[], bool]
) -> Callable[[Offer], Done]:
    """Runs a batch to its end in this process; what goes wrong outside of its groups is an error of ours."""
    reports: list[BatchReport] = []
    defs = build_defs(
        project.config.path, Carbonation(lambda: project, told=reports.append, interrupted=interrupted)
    )

    def run(offer: Offer) -> Done:
        reports.clear()
        result = defs.resolve_job_def(Names().watch_job(offer.watch_name)).execute_in_process(
            run_config=SILENT,
            instance=instance,
            tags={**run_tags(offer), PASS_TAG: name, HOST_TAG: socket.gethostname()},
            raise_on_error=False,
        )
        error = None
        if not result.success and not any(report.with_outcome(*FAILED_OUTCOMES) for report in reports):
            error = f"run {result.run_id} of watch {offer.watch_name} broke off: {_reason(result)}"
        return Done(tuple(reports), error)

    return run


def _reason(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            cause = error.cause or error
            return cause.message.strip()
    return "its run in Dagster says more"
