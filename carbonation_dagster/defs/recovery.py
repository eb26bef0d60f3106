"""Batches whose run never came, has ended or has died. Sensors and `run --once` begin here."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from carbonation_core import head
from carbonation_core.db import service
from carbonation_core.db.batches import OFFERED, RUNNING
from carbonation_core.db.engine import reading
from carbonation_core.errors import DatabaseError
from carbonation_core.lifecycle import GivenBack
from carbonation_core.pipeline.claim import Offer, OpenBatch, give_back, open_batches
from carbonation_core.process import is_dead, this_process
from carbonation_core.project import Project
from carbonation_dagster.defs.naming import PASS_TAG
from carbonation_dagster.defs.runs import failed_by, report_dead, run_of_batch

LONGEST_IN_QUEUE = timedelta(hours=1)  # of another instance, before its offers are taken from it
PAUSE = timedelta(seconds=10)  # from one offer of a group to the next when no run can begin
_ROLE = "pass"  # no uuid, as the ids of runs are


def pass_name() -> str:
    """The name under which a pass of this process claims.

    The daemon of the same Dagster instance leaves its offers alone, until the process is dead.
    """
    return this_process(_ROLE)


@dataclass(frozen=True)
class Recovered:
    """Offers that still wait for a run, and whether there were other batches.

    Of those somebody works on, or what was given back of them is to be offered again.
    """

    waiting: list[Offer]
    busy: bool


def recover(project: Project, watch_name: str, instance: dg.DagsterInstance, name: str) -> Recovered:
    """Give back what nobody works on any more.

    `name` is that of whoever asks: offers to it are its own.
    """
    waiting: list[Offer] = []
    found = open_batches(project, watch_name)
    for batch in found:
        batch_id, run = batch.offer.batch_id, _run(instance, batch)
        if run is not None and run.is_finished:
            _give_back_of(run, project, instance, batch)
        elif batch.status == RUNNING and batch.lease_is_dead:
            reason = f"run {batch.run_id} ended without a word"
            give_back(project, batch_id, reason, GivenBack.DIED)
            if run is not None:
                report_dead(instance, run, reason)
        elif run is not None and is_dead(run.tags.get(PASS_TAG, "")):
            # No launcher knows it, so that Dagster would wait for it for ever.
            reason = f"the pass ended before its run {run.run_id} began"
            report_dead(instance, run, reason)
            give_back(project, batch_id, reason, GivenBack.NO_RUN)
        elif run is not None and batch.status == OFFERED and _is_lost(instance, run):
            reason = f"run {run.run_id} was lost before it began"
            report_dead(instance, run, reason)
            give_back(project, batch_id, reason, GivenBack.NO_RUN)
        elif run is not None:
            continue  # it is at work
        elif batch.instance == name or _is_of_dead_pass(batch):
            if batch.status == OFFERED:
                waiting.append(batch.offer)
            else:
                reason = f"Dagster no longer knows run {batch.run_id}"
                give_back(project, batch_id, reason, GivenBack.NO_RUN)
        elif batch.status == OFFERED and _is_of_former_head(project, batch):
            reason = "no run came for it, and another host is the head of its site now"
            give_back(project, batch_id, reason, GivenBack.NO_RUN)
        elif batch.status == OFFERED and _is_of_silent_site(project, batch):
            reason = "no run came for it, and the site that offered it is silent"
            give_back(project, batch_id, reason, GivenBack.NO_RUN)
        elif batch.status == OFFERED and project.clock() - batch.offer.created_at > LONGEST_IN_QUEUE:
            give_back(project, batch_id, "no run came for it", GivenBack.NO_RUN)
    return Recovered(waiting, busy=len(found) > len(waiting))


def report_dead_passes(instance: dg.DagsterInstance) -> None:
    """Make runs show as failed that a killed pass had under way. `recover` comes first, for their batches."""
    status = dg.DagsterRunStatus
    unfinished = dg.RunsFilter(statuses=[status.NOT_STARTED, status.STARTING, status.STARTED])
    for record in instance.get_run_records(unfinished):
        run = record.dagster_run
        if is_dead(run.tags.get(PASS_TAG, "")):
            report_dead(instance, run, "its pass was killed before the run's end")


def _give_back_of(
    run: dg.DagsterRun, project: Project, instance: dg.DagsterInstance, batch: OpenBatch
) -> None:
    """Give back what a run left that has ended."""
    batch_id = batch.offer.batch_id
    if run.status is not dg.DagsterRunStatus.FAILURE:
        give_back(project, batch_id, f"run {run.run_id} ended: {run.status.value.lower()}")
    elif batch.status == RUNNING:
        # A run that could not even give them back, as the database was gone, did not fail by them.
        died = not failed_by(instance, run.run_id, DatabaseError)
        why = GivenBack.DIED if died else GivenBack.STOPPED
        give_back(project, batch_id, f"run {run.run_id} failed before its end", why)
    elif project.clock() - batch.offer.created_at > PAUSE:
        # None of the groups kept it from beginning; whatever did may do so again.
        give_back(project, batch_id, f"run {run.run_id} failed before it began", GivenBack.NO_RUN)


def _run(instance: dg.DagsterInstance, batch: OpenBatch) -> dg.DagsterRun | None:
    if batch.run_id is None:
        return run_of_batch(instance, batch.offer.batch_id)
    return instance.get_run_by_id(batch.run_id)


def _is_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run was launched, and nobody has it any more, as far as a launcher of ours can tell."""
    may_begin = getattr(instance.run_launcher, "may_begin", None)
    if may_begin is None or run.status is not dg.DagsterRunStatus.STARTING:
        return False
    record = instance.get_run_record_by_id(run.run_id)
    is_late = record is not None and datetime.now(UTC) - record.update_timestamp > PAUSE
    return is_late and not may_begin(run)


def _is_of_silent_site(project: Project, batch: OpenBatch) -> bool:
    with reading(project.engine) as connection:
        return batch.site is not None and service.is_silent(connection, batch.site, project.clock())


def _is_of_former_head(project: Project, batch: OpenBatch) -> bool:
    """Whether a service of this site offered it that had another Dagster, and is its head no more."""
    if batch.site != project.config.service.site_name or batch.instance.endswith(f"#{_ROLE}"):
        return False
    now_head = head.current(project)
    return now_head is not None and batch.offer.created_at < now_head.since


def _is_of_dead_pass(batch: OpenBatch) -> bool:
    return batch.instance.endswith(f"#{_ROLE}") and is_dead(batch.instance)
