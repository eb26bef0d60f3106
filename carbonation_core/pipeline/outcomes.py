"""How a group's way through a batch ends: its outcome, its next attempt, and the line in the log."""

import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from carbonation_core.db import batches, components, groups, meters
from carbonation_core.db.components import Change
from carbonation_core.db.engine import Connection
from carbonation_core.delivery.grouping import refresh
from carbonation_core.disk.source import is_unchanged
from carbonation_core.lifecycle import Event, Outcome, may
from carbonation_core.logs.records import SUCCESS, about
from carbonation_core.pipeline.context import Closing, StageContext, source_of
from carbonation_core.rules import decide
from carbonation_core.text import counted, shown

log = logging.getLogger(__name__)

_LEVELS = {
    Outcome.ARCHIVED: SUCCESS,
    Outcome.FAILED: logging.ERROR,
    Outcome.RETRY_PENDING: logging.WARNING,
    Outcome.INTEGRITY_FAILED: logging.WARNING,
}


@dataclass(frozen=True)
class Ended:
    """How a group's way through its batch ended.

    `at` is when its next attempt is, if there is one. `files` and `bytes` came to
    that archive, of a group that came to the end of all stages.
    """

    group_id: int
    group_key: str
    outcome: Outcome
    reason: str
    at: datetime | None = None
    files: int = 0
    bytes: int = 0
    archive_name: str | None = None


def changed_under(context: StageContext, closed: Sequence[Closing]) -> set[int]:
    """The files of groups that end by waiting which are not what was judged any more, by their ids."""
    return {
        file.id
        for closing in closed
        if closing.outcome is Outcome.WAITING
        for file in closing.group.asking
        if not is_unchanged(source_of(context.watch, file))
    }


def end(
    context: StageContext,
    connection: Connection,
    batch_id: str,
    run_id: str,
    closed: Sequence[Closing],
    changed: Collection[int],
    now: datetime,
) -> list[Ended]:
    """Record for these groups that their way has ended, and how; they are free then.

    Files that `changed` are to settle anew, so that nobody takes their groups
    again before a look has seen what they are now.
    """
    ends: list[Ended] = []
    if not closed:
        return ends
    changes: list[Change] = []
    attempts: list[dict[str, Any]] = []
    files = components.of_groups(connection, [closing.group.id for closing in closed])
    for closing in closed:
        group = closing.group
        carried = {file.id: file.stamp for file in closing.group.asking}
        asking = [file for file in files[group.id] if may(file.status, Event.REJECTED)]
        waiting = [file for file in asking if carried.get(file.id) == file.stamp]
        outcome, reason, at = closing.outcome, closing.reason, None
        if len(waiting) < len(asking):
            # What was decided without the new file does not hold for it, nor for its group.
            outcome, reason = Outcome.WAITING, f"got another file; {reason}"
        elif outcome is Outcome.NOT_SELECTED:
            changes += [Change(file, Event.REJECTED, reason) for file in waiting]
        elif outcome in (Outcome.RETRY_PENDING, Outcome.FAILED):
            decision = _next_attempt(context, closing, now)
            at = decision.at
            outcome = Outcome.FAILED if at is None else Outcome.RETRY_PENDING
            event = Event.GAVE_UP if at is None else Event.ATTEMPT_FAILED
            values = {"retry_count": decision.attempts, "retry_at": at}
            changes += [Change(file, event, reason, values) for file in waiting]
            attempts.append({"id": group.id, "attempts": decision.attempts, "due_at": at})
        if outcome is Outcome.WAITING:
            changes += [Change(file, Event.CHANGED, reason) for file in waiting if file.id in changed]
        ends.append(Ended(group.id, group.key, outcome, reason, at))
    components.apply(connection, changes, now, run_id)
    groups.store(connection, attempts, now)
    members = [{"group_id": one.group_id, "outcome": one.outcome, "reason": one.reason} for one in ends]
    batches.set_members(connection, batch_id, members)
    meters.ended(connection, context.watch.name, [one.outcome for one in ends])
    ids = [closing.group.id for closing in closed]
    batches.release(connection, batch_id, ids)
    refresh(connection, context.watch.root, context.rules, ids, (), now)
    return ends


def _next_attempt(context: StageContext, closing: Closing, now: datetime) -> decide.RetryDecision:
    """When the next attempt is, if there is one."""
    used, service = closing.group.attempts, context.project.config.service
    if closing.at is not None:
        return decide.RetryDecision(used, closing.at, closing.reason)
    if closing.outcome is Outcome.FAILED:
        return decide.RetryDecision(used + 1, None, closing.reason)
    jitter = random.random()  # noqa: S311  # spreads load, hides nothing
    if closing.counts:
        return decide.after_failure(used + 1, service, now, closing.reason, jitter)
    wait = decide.delay(max(used, 1), service, jitter)
    return decide.RetryDecision(used, now + wait, closing.reason)


def log_end(ended: Ended) -> None:
    """The line in the log."""
    what = ended.outcome + (f" at {shown(ended.at)}" if ended.at else "")
    where = (
        f"{counted(ended.files, 'file')} to {ended.archive_name}" if ended.outcome is Outcome.ARCHIVED else ""
    )
    reason = "; ".join(filter(None, (where, ended.reason)))
    with about(group_key=ended.group_key):
        level = _LEVELS.get(ended.outcome, logging.INFO)
        log.log(level, "group %s: %s: %s", ended.group_key, what, reason)
