"""A look at a watch: what is new, changed, settled or gone, and which groups that makes ready."""

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from carbonation_core.config.sections import Watch
from carbonation_core.db import components, groups, service, tallies
from carbonation_core.db.components import Change, Component
from carbonation_core.db.engine import Connection, reading, repeatable, writing
from carbonation_core.db.locks import lock_watch
from carbonation_core.db.service import PartState, part_of_watch
from carbonation_core.delivery.diff import Judging, root_of
from carbonation_core.delivery.grouping import expire, refresh
from carbonation_core.disk.scan import EVERYTHING, Hints, Look, look
from carbonation_core.errors import ScanError
from carbonation_core.lifecycle import Event, FileStatus, may
from carbonation_core.logs.records import TRACE, about
from carbonation_core.project import Project, rules_in_force
from carbonation_core.rules import decide

log = logging.getLogger(__name__)

# In a watch's details: when something was last delivered, in ISO 8601; how many
# deliveries a file event told of, and how many only a look found; whether events
# come (None: nobody has listened yet), and why not if they should; when the sums
# beside the rows were last counted.
LAST_NEW = "last_new"
BY_EVENT, BY_SCAN = "found_by_event", "found_by_scan"
LISTENS, TROUBLE = "listens", "trouble"
COUNTED = "counted_at"
_OPEN = (FileStatus.DETECTED, FileStatus.WAITING, FileStatus.RETRY_PENDING)


@dataclass(frozen=True)
class Observation:
    """What one look at a watch found.

    `files` is how many lie there by the last look at the whole tree, `settles_in`
    when the next file could have settled, `due_in` when the next attempt or
    timeout comes.
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
    due_in: timedelta | None


def observe(project: Project, watch_name: str, hints: Hints = EVERYTHING) -> Observation:
    """Look at a watch once and record what follows.

    Only the hinted places are looked at, and the files that have not settled;
    when the rules changed, or another file system lies there, everything. Raises
    `ScanError` when its directory cannot be looked at; then nothing is concluded.
    Raises `ConfigError` when there are no usable rules.
    """
    with about(watch=watch_name):
        return _observe(project, project.config.watch_named(watch_name), hints)


@repeatable
def _observe(project: Project, watch: Watch, hints: Hints) -> Observation:
    watch_name = watch.name
    rules = rules_in_force(project)
    rule_set = rules.sets[watch.rules]
    # What is known is read before the look: a file that the pipeline moves
    # away in between is then a change overtaken, not a file that came back.
    with reading(project.engine) as connection:
        last = service.get(connection, part_of_watch(watch_name))
        if last is None or last.details.get("rules_digest") != rules.digest or _was_mounted(watch, last):
            hints = replace(hints, everything=True)
        if hints.everything:
            known = components.in_delivery(connection, watch_name)
        else:
            known = _hinted(connection, watch, hints)
    try:
        seen = _look(watch, known, last, hints)
    except ScanError as error:
        _say_unwell(project, watch_name, last, str(error))
        raise
    for directory, reason in seen.unreadable:
        log.warning("directory %s cannot be looked at: %s", directory, reason)
    now = project.clock()
    judging = Judging(project, watch, rule_set, now)
    with reading(project.engine) as connection:
        judging.compare(connection, known, seen, whole=hints.everything)
        if last is not None and last.details.get("rules_digest") != rules.digest:
            judging.judge_again(connection, known)
    told = sum(map(hints.told_of, judging.news))
    before = last.details if last else {}
    details: dict[str, Any] = {
        "rules_digest": rules.digest,
        "files": len(seen.files) if hints.everything else judging.count(last),
        "device": _device(watch),
        "error": None,
        COUNTED: before.get(COUNTED) or now.isoformat(),
        LAST_NEW: now.isoformat() if judging.has_news else before.get(LAST_NEW),
        BY_EVENT: before.get(BY_EVENT, 0) + told,
        BY_SCAN: before.get(BY_SCAN, 0) + len(judging.news) - told,
        # A pass does not listen, and knows nothing of it.
        LISTENS: before.get(LISTENS) if hints.by_events is None else hints.by_events,
        TROUBLE: before.get(TROUBLE) if hints.by_events is None else hints.trouble,
    }
    with reading(project.engine) as connection:
        idle = (
            judging.is_empty
            and last is not None
            and last.details == details
            and timedelta(0) <= now - last.last_heartbeat < project.config.service.heartbeat_interval
            and not groups.overdue(connection, watch_name, now)
        )
        ready = groups.count_due(connection, watch_name, now)
        due_at = groups.next_change(connection, watch_name, now)
    if not idle:
        with writing(project.engine) as connection:
            lock_watch(connection, watch_name)
            if last is not None and now < last.last_heartbeat:  # the clock went back
                judging.touched |= groups.postponed(connection, watch_name, now)
            _record(connection, judging)
            expire(connection, watch_name, rule_set, now)
            if now - datetime.fromisoformat(details[COUNTED]) >= _between_counts(project):
                tallies.recount(connection, [watch_name])
                details[COUNTED] = now.isoformat()
            service.say(connection, part_of_watch(watch_name), now, details, started=last is None)
            ready = groups.count_due(connection, watch_name, now)
            due_at = groups.next_change(connection, watch_name, now)
        _tell(judging)
    log.log(TRACE, "%d files in delivery, %d not settled", details["files"], len(judging.unsettled))
    return Observation(
        watch_name,
        files=details["files"],
        new=len(judging.arrivals),
        returned=judging.tally["returned"],
        changed=judging.tally["changed"],
        gone=judging.tally["gone"],
        unsettled=len(judging.unsettled),
        ready=ready,
        rules_digest=rules.digest,
        settles_in=min(judging.unsettled.values(), default=None),
        due_in=None if due_at is None else due_at - now,
    )


def _between_counts(project: Project) -> timedelta:
    """How long the sums beside the rows are trusted to be those of the rows."""
    return project.config.service.stats_recompute_every * project.config.service.heartbeat_interval


def _tell(judging: Judging) -> None:
    tally = judging.tally
    if judging.has_news or tally["gone"]:
        counts = (len(judging.arrivals), tally["returned"], tally["changed"], tally["gone"])
        log.debug("%d files new, %d back, %d changed, %d gone", *counts)
    for change in judging.changes.values():
        if change.event is Event.CHECK_FAILED:
            log.warning("%s failed a check: %s", change.component.source_path, change.reason)


def _was_mounted(watch: Watch, last: PartState) -> bool:
    """Whether another file system lies there than when it was looked at last."""
    return _device(watch) not in (None, last.details.get("device"))


def _device(watch: Watch) -> int | None:
    """The file system that its directory is on; None when it is not there."""
    try:
        return watch.path.stat().st_dev
    except OSError:
        return None


def _look(watch: Watch, known: Sequence[Component], last: PartState | None, hints: Hints) -> Look:
    # What has not settled is looked at, too, though nothing told of it.
    hints = replace(hints, files=hints.files | _relative(watch, known))
    seen = look(watch.path, watch.recursive, watch.symlinks, lambda name: decide.wanted(name, watch), hints)
    before = last.details.get("device") if last else None
    if not seen.files and known and before not in (None, _device(watch)):
        raise ScanError(f"{watch.path}: is empty, and another file system than before; is it mounted?")
    return seen


def _hinted(connection: Connection, watch: Watch, hints: Hints) -> list[Component]:
    """What is known of the places that hints point to, and of files that wait for a look."""
    root = root_of(watch)
    found = [
        *components.by_path(connection, watch.name, [root + path for path in hints.files]),
        *components.below(connection, watch.name, [root + path for path in hints.directories]),
        *components.awaiting_a_look(connection, watch.name),
    ]
    return list({component.id: component for component in found}.values())


def _relative(watch: Watch, known: Sequence[Component]) -> set[str]:
    root = root_of(watch)
    return {c.source_path.removeprefix(root) for c in known if c.source_path.startswith(root)}


def _record(connection: Connection, judging: Judging) -> None:
    watch, now = judging.watch, judging.now
    components.record_arrivals(connection, watch.name, judging.arrivals, now)
    rows = groups.ensure(connection, watch.name, watch.type, judging.keys.values(), now)
    changes = [
        replace(change, values={**change.values, "group_id": rows[judging.keys[id_]].id})
        if id_ in judging.keys
        else change
        for id_, change in judging.changes.items()
    ]
    made = components.apply(connection, changes, now)
    joining = {change.component.id for change in made} & judging.keys.keys()
    joined = {rows[judging.keys[id_]].id for id_ in joining}
    joined |= _judge_by_new_sums(connection, judging, joined, {change.component.id for change in made})
    _reopen(connection, joined, joining, now)
    by_name = groups.by_key(connection, watch.name, judging.touched_keys)
    touched = judging.touched | joined | {row.id for row in by_name.values()}
    refresh(connection, judging.rules, touched, judging.unsettled_keys(), now)


def _judge_by_new_sums(
    connection: Connection, judging: Judging, joined: Collection[int], made: Collection[int]
) -> set[int]:
    """Have judged again what failed, or waits, by checksums that came or changed; the groups of it.

    An attempt that was counted is not repeated before its time.
    """
    rules = judging.rules
    if not rules.checksums:
        return set()
    found = [
        file
        for members in components.of_groups(connection, joined if rules.sidecars else ()).values()
        for file in members
        if file.status is FileStatus.INTEGRITY_FAILED
    ]
    directories = {os.path.dirname(m.source_path) for m in judging.manifests if m.id in made}
    if directories:
        stuck = (FileStatus.INTEGRITY_FAILED, FileStatus.RETRY_PENDING)
        found += [
            file
            for file in components.in_status(connection, judging.watch.name, stuck)
            if os.path.dirname(file.source_path) in directories and not file.retry_count
        ]
    again = {
        file.id: Change(file, Event.SUMS_CHANGED, "its checksums arrived or changed")
        for file in found
        if file.in_delivery
        and file.group_id is not None
        and decide.may_fail_by_sums(file.filename, rules)
        and decide.stat_fault(file.filename, file.stamp.size, rules) is None
    }
    components.apply(connection, list(again.values()), judging.now)
    woken = {change.component.group_id for change in again.values()} - {None}
    groups.store(connection, [{"id": id_, "due_at": None} for id_ in woken], judging.now)
    return {id_ for id_ in woken if id_ is not None}


def _reopen(
    connection: Connection, group_ids: Collection[int], joining: Collection[int], now: datetime
) -> None:
    """Begin anew with groups that got a file after they had come to an end, failed, or waited for nothing."""
    files = components.of_groups(connection, group_ids)
    rows = groups.by_id(connection, group_ids)
    judged_anew = [
        Change(component, Event.SIBLING_ARRIVED, "its group got another file")
        for members in files.values()
        for component in members
        if component.in_delivery and may(component.status, Event.SIBLING_ARRIVED)
    ]
    components.apply(connection, judged_anew, now)
    revived = {change.component.group_id for change in judged_anew}
    waited = {
        id_
        for id_, members in files.items()
        if any(file.status in _OPEN and file.in_delivery and file.id not in joining for file in members)
    }
    groups.store(
        connection,
        [
            {"id": row.id, "reopened_at": now, "timed_out_at": None, "attempts": 0}
            for row in rows.values()
            if row.id in revived
            or row.completed_at
            or row.attempts
            or row.timed_out_at
            or (row.id not in waited and row.created_at < now)
        ],
        now,
    )


@repeatable
def _say_unwell(project: Project, watch_name: str, last: PartState | None, error: str) -> None:
    if last is not None and last.details.get("error") == error:
        return
    now = project.clock()
    details = {**(last.details if last else {}), "error": error}
    with writing(project.engine) as connection:
        service.say(connection, part_of_watch(watch_name), now, details, started=last is None)
