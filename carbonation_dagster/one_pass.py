"""`run --once`: one pass over all watches in this process, recorded in Dagster."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import dagster as dg

from carbonation_core.config.sections import Watch
from carbonation_core.delivery.observe import Observation, observe
from carbonation_core.errors import ScanError
from carbonation_core.pipeline.claim import Offer, claim
from carbonation_core.pipeline.work import BatchReport, GroupReport, Outcome
from carbonation_core.project import Project, rules_in_force, rules_on_disk
from carbonation_core.reports import heartbeat
from carbonation_dagster.assembly import build_defs
from carbonation_dagster.defs.messages import FAILED
from carbonation_dagster.defs.naming import PASS_TAG, Names, run_tags
from carbonation_dagster.defs.recovery import pass_name, recover, report_dead_passes
from carbonation_dagster.defs.resources import Carbonation
from carbonation_dagster.service.home import HomeError, prepare_home, require_room, unusable

# Dagster tells every step to stderr, failures with their stack; what a person
# needs of that we say ourselves, and the run in Dagster holds all of it.
SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
LOOKS = 3  # at most: the first, one at what it saw and has settled, one at what changed till then
SLACK = 0.05  # seconds that a look is late; the file system's clock is coarse

log = logging.getLogger(__name__)


@dataclass
class Pass:
    """What a pass did, and what kept it from doing more."""

    reports: list[BatchReport] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unsettled: int = 0

    def groups(self, *outcomes: Outcome) -> list[GroupReport]:
        """The groups that ended so in this pass."""
        return [group for report in self.reports for group in report.with_outcome(*outcomes)]

    @property
    def failed(self) -> list[GroupReport]:
        """Groups whose attempt failed in this pass."""
        return self.groups(*FAILED)

    @property
    def exit_code(self) -> int:
        """1 for an error of our own, 3 when an attempt failed, else 0."""
        if self.errors:
            return 1
        return 3 if self.failed else 0


def run_pass(project: Project, sleep: Callable[[float], None] = time.sleep) -> Pass:
    """Look, wait till what was seen has settled, look again, and do all that is ready.

    What lies unfinished from processes that died is given back first. A watch
    that cannot be looked at stops no other, and a storage of Dagster that cannot
    be used stops nothing. After a `KeyboardInterrupt` it gives back what it holds.
    Raises `ConfigError` when rules.toml is refused: then nothing is done.
    """
    rules_on_disk(project)
    rules_in_force(project)
    done = Pass()
    with _heartbeat(project, done):
        try:
            _do(project, done, sleep)
        except KeyboardInterrupt:
            done.errors.append("stopped by a signal before its end; the next pass takes what is left")
    return done


def _do(project: Project, done: Pass, sleep: Callable[[float], None]) -> None:
    with _dagster(project, done) as instance:
        workers = _Workers(project, instance, done)
        for watch in project.config.watch:
            recover(project, watch.name, instance, workers.name)
        report_dead_passes(instance)
        looked_at = _look_until_settled(project, done, sleep)
        looked = project.clock()
        for watch in looked_at:
            while offers := workers.offers(watch, looked):
                for offer in offers:
                    workers.execute(offer)


@contextmanager
def _dagster(project: Project, done: Pass) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance; while its storage cannot be used, one that forgets when the pass ends."""
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
            done.errors.append(f"{error}; the UI will not show what this pass did")
            instance = stack.enter_context(dg.DagsterInstance.ephemeral())
        yield instance


@contextmanager
def _heartbeat(project: Project, done: Pass) -> Iterator[None]:
    """Say in the database that a pass begins, and how it ended."""
    heartbeat.begin(project, heartbeat.PASS)
    try:
        yield
    except BaseException as error:
        heartbeat.end(project, heartbeat.PASS, [*done.errors, f"broke off: {type(error).__name__}: {error}"])
        raise
    heartbeat.end(project, heartbeat.PASS, done.errors)


def _look_until_settled(project: Project, done: Pass, sleep: Callable[[float], None]) -> Sequence[Watch]:
    """The watches that could be looked at, after a last look."""
    watches = {watch.name: watch for watch in project.config.watch}
    seen = {name: look for name in watches if (look := _look(project, name, done)) is not None}
    for _ in range(LOOKS - 1):
        waits = {name: look.all_settled_in for name, look in seen.items() if look.all_settled_in is not None}
        if not waits:
            break
        sleep(max(waits.values()).total_seconds() + SLACK)
        for name in waits:
            look = _look(project, name, done)
            if look is None:
                del seen[name]
            else:
                seen[name] = look
    done.unsettled = sum(look.unsettled for look in seen.values())
    return [watches[name] for name in seen]


def _look(project: Project, watch_name: str, done: Pass) -> Observation | None:
    try:
        return observe(project, watch_name)
    except ScanError as error:
        done.errors.append(str(error))
        return None


class _Workers:
    """Runs batches in this process."""

    def __init__(self, project: Project, instance: dg.DagsterInstance, done: Pass) -> None:
        self._project, self._instance, self._done = project, instance, done
        self.name = pass_name()
        self._interrupted = threading.Event()
        carbonation = Carbonation(
            lambda: project, told=done.reports.append, interrupted=self._interrupted.is_set
        )
        self._defs = build_defs(project.config.path, carbonation)
        self._tried: set[str] = set()

    def offers(self, watch: Watch, looked: datetime) -> list[Offer]:
        """What waits for a run of ours, and what could be claimed when we looked and was not yet.

        A pass takes a group once: what comes back is for the next one, after another look.
        """
        waiting = recover(self._project, watch.name, self._instance, self.name).waiting
        then = replace(self._project, clock=lambda: looked)
        offers = [*waiting, *claim(then, watch.name, self.name, tried=self._tried)]
        return [offer for offer in offers if offer.batch_id not in self._tried]

    def execute(self, offer: Offer) -> None:
        """Run a batch to its end; what goes wrong outside of its groups is an error of ours.

        After a `KeyboardInterrupt` the groups under way are finished, and the others given back.
        """
        self._tried.add(offer.batch_id)
        told = len(self._done.reports)
        # In the main thread Dagster would take a signal for the end of this run only, or for nothing.
        with ThreadPoolExecutor(1) as thread:
            run = thread.submit(self._run, offer)
            try:
                result = run.result()
            except KeyboardInterrupt:
                self._interrupted.set()
                raise
        reports = self._done.reports[told:]
        if not result.success and not any(report.with_outcome(*FAILED) for report in reports):
            self._done.errors.append(
                f"run {result.run_id} of watch {offer.watch_name} broke off: {_reason(result)}"
            )

    def _run(self, offer: Offer) -> dg.ExecuteInProcessResult:
        return self._defs.resolve_job_def(Names().watch_job(offer.watch_name)).execute_in_process(
            run_config=SILENT,
            instance=self._instance,
            tags={**run_tags(offer), PASS_TAG: self.name},
            raise_on_error=False,
        )


def _reason(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            cause = error.cause or error
            return cause.message.strip()
    return "its run in Dagster says more"
