"""A look at a watch: what is new, changed, settled or gone, and which groups that makes ready."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from carbonation_core.config.sections import Watch
from carbonation_core.db import groups, service, tallies
from carbonation_core.db.engine import Connection, reading, repeatable, writing
from carbonation_core.db.locks import lock_watch
from carbonation_core.db.service import WatchState, part_of_watch
from carbonation_core.delivery import board
from carbonation_core.delivery.diff import CHANGES, DELIVERIES, Diff, Facts, Kind, diff
from carbonation_core.delivery.gather import Before, gather, known_before, seen_by
from carbonation_core.delivery.grouping import expire, key_of, lists_of
from carbonation_core.delivery.ownership import keep
from carbonation_core.delivery.record import record
from carbonation_core.disk.mark import Directory
from carbonation_core.disk.scan import EVERYTHING, Hints
from carbonation_core.errors import NotOurs, ScanError
from carbonation_core.lifecycle import Event
from carbonation_core.logs.records import TRACE, about
from carbonation_core.project import Project, rules_in_force
from carbonation_core.text import counted

log = logging.getLogger(__name__)

Due = tuple[int, datetime | None]  # how many groups are due, and when time alone next changes something


@dataclass(frozen=True)
class Observation:
    """What one look at a watch found.

    `files` is how many lie there by the last look at the whole tree, `settles_in`
    when the next file could have settled, `all_settled_in` when the last one
    could, `due_in` when the next attempt or timeout comes.
    """

    watch_name: str
    files: int
    new: int
    returned: int
    changed: int
    gone: int
    unsettled: int
    ready: int
    rules_digest: str
    settles_in: timedelta | None
    all_settled_in: timedelta | None
    due_in: timedelta | None


def observe(project: Project, watch_name: str, hints: Hints = EVERYTHING) -> Observation:
    """Look at a watch once and record what follows.

    Only the hinted places are looked at, and the files that have not settled;
    when the rules changed, or another file system lies there, everything. Raises
    `ScanError` when its directory cannot be looked at, or is not ours; then nothing
    is concluded.
    Raises `ConfigError` when there are no usable rules.
    """
    with about(watch=watch_name):
        return _observe(project, project.config.watch_named(watch_name), hints)


@repeatable
def _observe(project: Project, watch: Watch, hints: Hints) -> Observation:
    rules = rules_in_force(project)
    # What is known is read before the look: a file that the pipeline moves
    # away in between is then a change overtaken, not a file that came back.
    before = known_before(project, watch, rules.digest, hints)
    try:
        seen = seen_by(watch, before)
    except NotOurs:
        raise  # how the watch does is its owner's to say
    except ScanError as error:
        say_unwell(project, watch.name, str(error))
        raise
    for path, reason in seen.unreadable:
        log.warning("%s cannot be looked at: %s", path, reason)
    facts = gather(project, watch, rules, before, seen)
    asking = (watch, facts.rules, project.plugin)
    found = diff(facts, partial(key_of, *asking), partial(lists_of, *asking))
    state = _state(before, facts, found, rules.digest)
    with reading(project.engine) as connection:
        is_idle = _is_idle(connection, project, before, facts, found, state)
        ready, due_at = _due(connection, watch.name, facts.now)
    if not is_idle:
        found, state, (ready, due_at) = _recorded(project, before, facts, found, state)
        _tell(found, is_known=state.unrecorded == before.state.unrecorded)
    unsettled = found.unsettled
    log.log(TRACE, "files: %s in delivery, %d not settled", state.files, len(unsettled))
    return Observation(
        watch.name,
        files=state.files or 0,
        new=found.number(Kind.NEW),
        returned=found.number(Kind.RETURNED),
        changed=found.number(*CHANGES),
        gone=found.number(Kind.GONE),
        unsettled=len(unsettled),
        ready=ready,
        rules_digest=rules.digest,
        settles_in=min(unsettled, default=None),
        all_settled_in=max(unsettled, default=None),
        due_in=None if due_at is None else due_at - facts.now,
    )


def _state(before: Before, facts: Facts, found: Diff, rules_digest: str | None) -> WatchState:
    """What this look says of the watch."""
    last, hints, root = before.state, before.hints, facts.watch.root
    told = sum(hints.told_of(path.removeprefix(root)) for path in found.news)
    moved = found.number(Kind.NEW, Kind.RETURNED) - found.number(Kind.GONE)
    return WatchState(
        rules_digest=rules_digest,
        files=facts.seen.number if facts.whole else max(0, (last.files or 0) + moved),
        error=None,
        counted_at=last.counted_at or facts.now,
        last_new=facts.now if found.number(*DELIVERIES) else last.last_new,
        found_by_event=last.found_by_event + told,
        found_by_scan=last.found_by_scan + len(found.news) - told,
        # A pass does not listen, and knows nothing of it.
        listens=last.listens if hints.by_events is None else hints.by_events,
        trouble=last.trouble if hints.by_events is None else hints.trouble,
        unrecorded=_unrecorded(found) if facts.whole or found.refused else last.unrecorded,
        board_digest=last.board_digest,
        board_due_at=last.board_due_at,
        root=root,
    )


def _is_idle(
    connection: Connection, project: Project, before: Before, facts: Facts, found: Diff, state: WatchState
) -> bool:
    """Whether there is nothing to write, not even that the watch was looked at."""
    return (
        found.is_empty
        and before.last is not None
        and before.state == state
        and before.is_kept
        and timedelta(0) <= facts.now - before.last.last_heartbeat < project.config.service.heartbeat_interval
        and not board.is_due(facts.watch, state, facts.now)
        and not groups.overdue(connection, facts.watch.name, facts.now)
    )


def _recorded(
    project: Project, before: Before, facts: Facts, found: Diff, state: WatchState
) -> tuple[Diff, WatchState, Due]:
    """Write down what follows from a look; what did follow, what is said of the watch, what is due."""
    name, now, last = facts.watch.name, facts.now, before.last
    with writing(project.engine) as connection:
        lock_watch(connection, name)
        assert isinstance(before.directory, Directory)
        keep(project, connection, facts.watch, before.directory)
        postponed: set[int] = set()
        if last is not None and now < last.last_heartbeat:  # the clock went back
            postponed = groups.postponed(connection, name, now)
        recorded = record(connection, facts, found, postponed)
        found = found.without(recorded.refused)
        state = _state(before, facts, found, state.rules_digest)
        expire(connection, facts.watch, facts.rules, now)
        retention = project.config.service.history_retention
        state = board.keep(connection, facts.watch, state, recorded.group_ids, now, retention)
        if state.counted_at is None or now - state.counted_at >= _between_counts(project):
            tallies.recount(connection, [name])
            state = replace(state, counted_at=now)
        service.say(connection, part_of_watch(name), now, state.to_details(), started=last is None)
        return found, state, _due(connection, name, now)


def _unrecorded(found: Diff) -> str | None:
    """Which files the database refuses, and what it has against the first."""
    if not found.refused:
        return None
    first = min(found.refused)
    files = counted(len(found.refused), "file")
    return f"{files} cannot be recorded, {first}: {found.refused[first]}"


def _due(connection: Connection, watch_name: str, now: datetime) -> Due:
    return groups.count_due(connection, watch_name, now), groups.next_change(connection, watch_name, now)


def _between_counts(project: Project) -> timedelta:
    """How long the sums beside the rows are trusted to be those of the rows."""
    return project.config.service.stats_recompute_every * project.config.service.heartbeat_interval


def _tell(found: Diff, is_known: bool) -> None:
    """Log what was found; `is_known`: that before it was told which files cannot be recorded."""
    counts = [found.number(*kinds) for kinds in ((Kind.NEW,), (Kind.RETURNED,), CHANGES, (Kind.GONE,))]
    if any(counts):
        log.debug("files: %d new, %d back, %d changed, %d gone", *counts)
    for change in found.changes:
        if change.event is Event.CHECK_FAILED:
            log.warning("%s failed a check: %s", change.component.source_path, change.reason)
    for path, words in found.refused.items() if not is_known else ():
        log.warning("%s cannot be recorded: %s", path, words)


@repeatable
def say_unwell(project: Project, watch_name: str, error: str) -> None:
    """Note why a watch cannot be looked at, unless that was said of it last."""
    part = part_of_watch(watch_name)
    with reading(project.engine) as connection:
        last = service.get(connection, part)
    state = WatchState.from_details(last.details) if last is not None else WatchState()
    if state.error == error:
        return
    details = replace(state, error=error).to_details()
    with writing(project.engine) as connection:
        service.say(connection, part, project.clock(), details, started=last is None)
