"""A batch's way through the stages. Commits are visible here, and nowhere below.

How a stage reads and writes. An op reads its batch once: members, groups and files,
a statement each. The stages decide of these values. What they
decided is one transaction: a statement for what all groups have in common, and one
with many parameters for what they have not. It commits only if the batch is still
ours, and takes the lock of the watch only if it lets go of a group or changes what is
said of a file; that is when it could meet a look.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from carbonation_core.db import batches, components, groups, metadata
from carbonation_core.db.batches import BatchRow
from carbonation_core.db.components import Change, Component
from carbonation_core.db.engine import Connection, reading, repeatable, writing
from carbonation_core.db.locks import lock_watch
from carbonation_core.delivery.grouping import refresh
from carbonation_core.errors import CarbonationError, ConfigError, LostOwnership
from carbonation_core.lifecycle import Event, FileStatus, GivenBack, Outcome, Stage, may
from carbonation_core.logs.records import about
from carbonation_core.pipeline import outcomes, placement, publish, record, stages
from carbonation_core.pipeline.batch_report import BatchReport, GroupReport
from carbonation_core.pipeline.claim import difference, give_back
from carbonation_core.pipeline.context import Closing, OpenGroup, StageContext, StageResult, open_group
from carbonation_core.pipeline.in_force import superseded
from carbonation_core.pipeline.integrity import Contents
from carbonation_core.process import this_process
from carbonation_core.project import Project, rules_in_force, rules_of
from carbonation_core.rules import decide
from carbonation_core.rules.rule_sets import Rules

__all__ = ["Outcome", "Stage", "Work", "work"]

log = logging.getLogger(__name__)

ORDER = tuple(Stage)


@contextmanager
def work(
    project: Project,
    batch_id: str,
    run_id: str,
    stop: Callable[[], bool] = lambda: False,
    again: bool = False,
) -> Iterator["Work"]:
    """Take a batch and hold it, for one stage or all of them.

    Whoever leaves without `finish()` hands the batch on to the next step of the
    same run, whose lease it stays under; an exception gives it back. `stop` is
    asked between groups. `again`: the run repeats an earlier one; an
    ended batch is opened again, and its groups that failed are taken up at
    once if nobody else has them. Raises `LostOwnership` when the batch is
    somebody else's, or has ended, or was made with another configuration, release
    or plugin than this process has, or the service of the site has accepted another
    configuration; then it is given back.
    """
    holder = this_process(run_id)
    batch = _taken(project, batch_id, run_id, holder, again)
    try:
        job = Work(project, batch, run_id, holder, stop)
    except ConfigError as error:  # an earlier release made it, and did not say with what
        give_back(project, batch_id, str(error), GivenBack.MADE_OTHERWISE, holder)
        raise LostOwnership(f"batch {batch_id} was given back: {error}") from error
    with about(watch=batch.watch_name, run_id=run_id), _kept(project, batch_id, holder):
        if again:
            job.retake_failed()
        try:
            yield job
        except LostOwnership:
            raise
        except BaseException as error:
            # An interrupted run did not fail; its groups come again as they are.
            failed = isinstance(error, Exception)
            reason = f"{type(error).__name__}: {error}" if failed else "its run was interrupted"
            if failed and not isinstance(error, CarbonationError):
                log.exception("batch %s broke off: %s", batch_id, reason)
            give_back(project, batch_id, reason, GivenBack.DIED if failed else GivenBack.STOPPED, holder)
            raise


@repeatable
def _taken(project: Project, batch_id: str, run_id: str, holder: str, again: bool) -> BatchRow:
    rules = _rules_now(project) if again else None
    with writing(project.engine) as connection:
        batch = batches.get(connection, batch_id)
        if batch is None:
            raise LostOwnership(f"there is no batch {batch_id}")
        if again and batch.status == batches.ENDED:
            lock_watch(connection, batch.watch_name)
            if why := superseded(project, connection, batch.watch_name):
                raise LostOwnership(f"batch {batch_id} is not begun again: {why}")
            digest = batch.rules_digest if rules is None else rules.digest
            batches.retake(connection, batch_id, run_id, holder, digest, project.fingerprint)
            return replace(batch, rules_digest=digest)
        batches.take(connection, batch_id, run_id, holder)
        why = difference(project, batch)
        if why is None and batch.status == batches.OFFERED:
            why = superseded(project, connection, batch.watch_name)
    if why is not None:
        give_back(project, batch_id, why, GivenBack.MADE_OTHERWISE, holder)
        raise LostOwnership(f"batch {batch_id} was given back: {why}")
    return batch


def _rules_now(project: Project) -> Rules | None:
    """Those in force, after a look at what may have been repaired; None if none go with config.toml."""
    try:
        return rules_in_force(project)
    except ConfigError:
        return None


class Work:
    """A batch in the hands of its owner."""

    def __init__(
        self, project: Project, batch: BatchRow, run_id: str, holder: str, stop: Callable[[], bool]
    ) -> None:
        self.batch_id = batch.id
        self._project = project
        self._batch = batch
        self._run_id = run_id
        self._holder = holder
        self._stop = stop
        self._advanced: BatchReport | None = None
        watch = project.config.watch_named(batch.watch_name)
        rules = rules_of(project, batch.rules_digest)
        self._context = StageContext(project, watch, rules.sets[watch.rules])

    def advance(self, stage: Stage) -> BatchReport:
        """Bring every open group up to that stage, through all that it still lacks.

        Raises `LostOwnership` when the batch was given to somebody else.
        """
        standing = self._read()
        self._require_ownership(standing.batch)
        reports, opened = dict(standing.reports), dict(standing.opened)
        for number, step in enumerate(ORDER[: ORDER.index(stage) + 1]):
            before = ORDER[number - 1] if number else None
            lacking = [group for id_, group in opened.items() if reports[id_].stage == before]
            if not lacking:
                continue
            passed, ended = self._run(step, lacking)
            reports |= {group.id: reports[group.id].passed(step, group) for group in passed}
            reports |= {end.group_id: reports[end.group_id].ended(end) for end in ended}
            opened |= {group.id: group for group in passed}
            for end in ended:
                del opened[end.group_id]
        self._advanced = self._report(reports.values())
        return self._advanced

    def report(self) -> BatchReport:
        """How far each group has come."""
        return self._report(self._read().reports.values())

    def _report(self, groups_: Iterable[GroupReport]) -> BatchReport:
        return BatchReport(self.batch_id, self._batch.watch_name, self._batch.rules_digest, tuple(groups_))

    @repeatable
    def retake_failed(self) -> int:
        """Take up the batch's failed groups at once, those that nobody else has; how many."""
        again = (Outcome.RETRY_PENDING, Outcome.FAILED, Outcome.GIVEN_BACK)
        now = self._project.clock()
        with self._recording() as connection:
            ids = [m.group_id for m in batches.members(connection, self.batch_id) if m.outcome in again]
            owned = batches.own_again(connection, self.batch_id, ids)
            files = components.of_groups(connection, owned)
            resumed = [
                Change(file, Event.RESUMED, "its run was executed again")
                for members in files.values()
                for file in members
                if may(file.status, Event.RESUMED)
            ]
            components.apply(connection, resumed, now, self._run_id)
            rows = [{"group_id": id_, "stage": None, "outcome": None, "reason": None} for id_ in owned]
            batches.set_members(connection, self.batch_id, rows)
        return len(owned)

    def finish(self) -> BatchReport:
        """End the batch; what is still open is given back."""
        given_back = give_back(self._project, self.batch_id, "the run ended", holder=self._holder)
        return self.report() if given_back or self._advanced is None else self._advanced

    def _read(self) -> "_Standing":
        """The batch as the database has it."""
        with reading(self._project.engine) as connection:
            batch = batches.get(connection, self.batch_id)
            members = batches.members(connection, self.batch_id)
            rows = groups.of_batch(connection, self.batch_id)
            files = components.of_batch(connection, self.batch_id)
        return _Standing(
            batch,
            {m.group_id: GroupReport.of(m, rows[m.group_id], files[m.group_id]) for m in members},
            {
                m.group_id: open_group(rows[m.group_id], files[m.group_id], m)
                for m in members
                if m.outcome is None and rows[m.group_id].batch_id == self.batch_id
            },
        )

    def _require_ownership(self, batch: BatchRow | None) -> None:
        if batch is None or batch.holder != self._holder:
            raise LostOwnership(f"batch {self.batch_id} was given to somebody else")

    def _run(self, stage: Stage, opened: Sequence[OpenGroup]) -> "_Recorded":
        """Do a stage and record what it decided."""
        if stage is Stage.ARCHIVE:
            return self._archive(opened)
        left: list[OpenGroup] = []
        result = self._decided(stage, opened, self._until_stopped(opened, left))
        given_back = (Closing(group, Outcome.GIVEN_BACK, publish.GIVEN_BACK) for group in left)
        return self._record(stage, opened, replace(result, closed=(*result.closed, *given_back)))

    def _until_stopped(self, opened: Sequence[OpenGroup], left: list[OpenGroup]) -> Iterator[OpenGroup]:
        """Each group, but for those that are `left` when we are to stop."""
        for number, group in enumerate(opened):
            if self._stop():
                left += opened[number:]
                return
            yield group

    def _decided(
        self, stage: Stage, opened: Sequence[OpenGroup], one_by_one: Iterator[OpenGroup]
    ) -> StageResult:
        if stage is Stage.INTEGRITY:
            return stages.integrity(self._context, one_by_one, self._contents())
        if stage is Stage.COMPLETENESS:
            return stages.completeness(self._context, one_by_one)
        if stage is Stage.EXTRACT:
            return stages.extract(self._context, one_by_one)
        decide_by = stages.select if stage is Stage.SELECT else stages.route
        return decide_by(self._context, one_by_one, self._metadata(opened))

    def _archive(self, opened: Sequence[OpenGroup]) -> "_Recorded":
        # A look may have found a change meanwhile.
        whole = stages.completeness(self._context, opened)
        same = stages.as_judged(whole.passed)
        planned = placement.prepare(self._context, self.batch_id, same.passed)
        written = publish.write(self._context, planned.transfers, self._stop)
        try:
            self._hold()
        except LostOwnership:
            publish.discard(written.transfers)
            raise
        placed = publish.publish(written.transfers)
        superseded, ends = self._record_archived(placed.transfers)
        for ended in ends:
            outcomes.log_end(ended)
        # Owned until their sources are gone: who looks meanwhile must not take
        # a source that is about to be removed for one that was left behind.
        self._let_go(placed.transfers, publish.clean_up(self._context, placed.transfers, superseded))
        closed = (*whole.closed, *same.closed, *planned.closed, *written.closed, *placed.closed)
        linked = {**written.linked, **placed.linked}
        if not (closed or linked):
            return (), ends
        _, others = self._record(Stage.ARCHIVE, opened, StageResult(closed=closed, linked=linked))
        return (), (*ends, *others)

    @repeatable
    def _hold(self) -> None:
        with writing(self._project.engine) as connection:
            batches.require_owner(connection, self.batch_id, self._holder)

    @repeatable
    def _record_archived(
        self, transfers: Sequence[placement.Transfer]
    ) -> tuple[list[str], list[outcomes.Ended]]:
        """Commit what was archived; returns the copies that it superseded, and how it ended."""
        now = self._project.clock()
        with self._recording() as connection:
            return record.record(self._context, connection, self._batch, self._run_id, transfers, now)

    @repeatable
    def _let_go(self, transfers: Sequence[placement.Transfer], cleaned: publish.CleanedUp) -> None:
        """Commit what cleaning up did, and own the groups no more."""
        now = self._project.clock()
        ids = [job.group.id for job in transfers]
        with writing(self._project.engine) as connection:
            lock_watch(connection, self._batch.watch_name)
            record.record_clean_up(connection, cleaned, now)
            batches.release(connection, self.batch_id, ids)
            # A look left groups that were owned as they were, whatever joined them.
            asking = components.groups_asking(connection, ids)
            refresh(connection, self._context.watch.root, self._context.rules, asking, (), now)

    @repeatable
    def _record(self, stage: Stage, opened: Sequence[OpenGroup], result: StageResult) -> "_Recorded":
        """Commit what a stage decided of these groups."""
        now = self._project.clock()
        changed = outcomes.changed_under(self._context, result.closed)
        before = {group.id: _noted(group) for group in opened}
        # Groups that only go on are known to nobody but their owner.
        alone = not (result.closed or result.changes or result.linked)
        with self._recording(alone) as connection:
            components.apply(connection, result.changes, now, self._run_id)
            model = self._context.plugin.file_model
            refused = metadata.store(connection, model, result.metadata, now)
            if refused and alone:
                lock_watch(connection, self._batch.watch_name)
            result = result.without(refused)
            noted = [group for group in result.passed if _noted(group) != before[group.id]]
            rows = [{**_noted(group), "stage": stage} for group in noted]
            batches.set_members(connection, self.batch_id, rows)
            others = {group.id for group in result.passed} - {group.id for group in noted}
            batches.set_stage(connection, self.batch_id, others, stage)
            ends = outcomes.end(
                self._context, connection, self.batch_id, self._run_id, result.closed, changed, now
            )
            linked = [
                Change(file, values=components.stamp_values(result.linked[file.id][1]))
                for file in components.by_id(connection, result.linked)
                if file.stamp == result.linked[file.id][0]
            ]
            components.apply(connection, linked, now)
        for ended in ends:
            outcomes.log_end(ended)
        return result.passed, ends

    def _contents(self) -> Contents:
        context = self._context
        now = self._project.clock()
        return Contents(context.watch, context.rules, context.plugin, self._manifests(), now)

    def _manifests(self) -> list[Component]:
        """The lists of checksums that lie in delivery and have settled."""
        if not self._context.rules.manifests:
            return []
        with reading(self._project.engine) as connection:
            left_alone = components.in_status(connection, self._batch.watch_name, [FileStatus.NOT_SELECTED])
        rules = self._context.rules
        return [one for one in left_alone if one.in_delivery and decide.is_manifest(one.filename, rules)]

    def _metadata(self, opened: Sequence[OpenGroup]) -> dict[int, dict[str, Any]]:
        ids = [group.id for group in opened]
        with reading(self._project.engine) as connection:
            return metadata.of_groups(connection, self._context.plugin.file_model, ids)

    @contextmanager
    def _recording(self, alone: bool = False) -> Iterator[Connection]:
        """A transaction that commits only if the batch is still ours.

        `alone`: beside others that look at the watch, since it lets go of no group and
        says nothing of a file.
        """
        with writing(self._project.engine) as connection:
            if not alone:
                lock_watch(connection, self._batch.watch_name)
            batches.require_owner(connection, self.batch_id, self._holder)
            yield connection


@dataclass(frozen=True)
class _Standing:
    """A batch as it was read: how far its groups have come, and those that are open, by their ids."""

    batch: BatchRow | None
    reports: Mapping[int, GroupReport]
    opened: Mapping[int, OpenGroup]


# Who passed a stage, and whose way ended in it.
_Recorded = tuple[Sequence[OpenGroup], Sequence[outcomes.Ended]]


def _noted(group: OpenGroup) -> dict[str, Any]:
    """What its batch remembers of a group beside the stage that it has passed."""
    return {
        "group_id": group.id,
        "judged": group.judged,
        "reason": group.reason,
        "archive_name": group.route.archive if group.route else None,
        "archive_directory": group.route.directory if group.route else None,
    }


@repeatable
def _renewed(project: Project, batch_id: str, holder: str) -> bool:
    with writing(project.engine) as connection:
        return batches.renew(connection, batch_id, holder)


@contextmanager
def _kept(project: Project, batch_id: str, holder: str) -> Iterator[None]:
    """Renew the lease from another thread, so that a long stage does not lose it."""
    done = threading.Event()

    def renew() -> None:
        pause: timedelta = batches.LEASE / 4
        while not done.wait(pause.total_seconds()):
            try:
                if not _renewed(project, batch_id, holder):
                    return
            except Exception:  # the next one may work; recording asks for ownership anyway
                log.exception("lease of batch %s could not be renewed", batch_id)

    of_batch = copy_context()  # for the log
    thread = threading.Thread(target=of_batch.run, args=(renew,), name=f"lease-{batch_id[:8]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
