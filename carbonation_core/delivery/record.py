"""Writes down what follows from a look at a watch."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from carbonation_core.db import components, groups
from carbonation_core.db.components import Arrival, Change
from carbonation_core.db.engine import Connection
from carbonation_core.db.rows import store_each
from carbonation_core.delivery.diff import Diff, Effect, Facts
from carbonation_core.delivery.grouping import refresh
from carbonation_core.disk.stamp import Stamp
from carbonation_core.lifecycle import OPEN, Event, FileStatus, may
from carbonation_core.rules import decide

LONGEST_REFUSAL = 500  # characters of what a database has against a row
NOTHING = Stamp(0, 0, 0, "")  # of a file of which nothing else can be stored


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of it: which groups may stand otherwise now, and which files the database refuses, and why.

    These have failed a check, if they can have a row at all.
    """

    group_ids: frozenset[int]
    refused: dict[str, str]


def record(connection: Connection, facts: Facts, found: Diff, touched: Collection[int]) -> Recorded:
    """Write down what follows from a look, and how the groups stand now, those `touched` otherwise, too."""
    watch, now = facts.watch, facts.now
    applied: list[Change] = []
    effects = store_each(connection, found.effects, partial(_store, connection, facts, applied))
    refused = {effect.path: _plain(words) for effect, words in effects}
    store_each(connection, list(refused.items()), partial(_fail, connection, facts))
    made = {change.component.id for change in applied}
    joining = made & found.keys.keys()
    joined = {change.values["group_id"] for change in applied if change.component.id in joining}
    arrived = {os.path.dirname(m.source_path) for m in found.manifests if m.id in made}
    joined |= _judge_by_new_sums(connection, facts, joined, arrived)
    _reopen(connection, joined, joining, now)
    by_name = groups.by_key(connection, watch.name, found.touched_keys)
    told = found.touched | joined | {row.id for row in by_name.values()} | set(touched)
    refresh(connection, watch.root, facts.rules, told, found.unsettled_keys, now)
    return Recorded(frozenset(told), refused)


def _store(connection: Connection, facts: Facts, applied: list[Change], effects: Sequence[Effect]) -> None:
    """Write down these effects; what is applied comes on top of what was."""
    watch, now = facts.watch, facts.now
    arrivals = [effect.arrival for effect in effects if effect.arrival is not None]
    components.record_arrivals(connection, watch.name, arrivals, now)
    keys = [effect.key for effect in effects if effect.key is not None]
    rows = groups.ensure(connection, watch.name, watch.type, keys, now)
    changes = [
        effect.change
        if effect.key is None
        else replace(effect.change, values={**effect.change.values, "group_id": rows[effect.key].id})
        for effect in effects
        if effect.change is not None
    ]
    applied += components.apply(connection, changes, now)


def _fail(connection: Connection, facts: Facts, refused: Sequence[tuple[str, str]]) -> None:
    """Have these files fail a check for that reason; new ones get a row that says nothing else."""
    name, now, reasons = facts.watch.name, facts.now, dict(refused)
    new = [Arrival(path, NOTHING) for path in reasons if path not in facts.known]
    components.record_arrivals(connection, name, new, now)
    files = components.by_path(connection, name, reasons)
    changes = [
        Change(file, Event.CHECK_FAILED, f"cannot be recorded: {reasons[file.source_path]}") for file in files
    ]
    changes = [change for change in changes if may(change.component.status, Event.CHECK_FAILED)]
    components.apply(connection, changes, now)


def _plain(words: str) -> str:
    """What a database says, so that it surely takes it."""
    return words.encode("ascii", "backslashreplace").decode()[:LONGEST_REFUSAL]


def _judge_by_new_sums(
    connection: Connection, facts: Facts, joined: Collection[int], directories: Collection[str]
) -> set[int]:
    """Have judged again what failed, or waits, by checksums that came or changed; the groups of it.

    `joined` are groups that got files, of `directories` a list of checksums has
    settled. An attempt that was counted is not repeated before its time.
    """
    rules = facts.rules
    if not rules.checksums:
        return set()
    has_sums = rules.sidecars or rules.waits.manifest is not None
    found = [
        file
        for members in components.of_groups(connection, joined if has_sums else ()).values()
        for file in members
        if file.status is FileStatus.INTEGRITY_FAILED
    ]
    if directories:
        stuck = (FileStatus.INTEGRITY_FAILED, FileStatus.RETRY_PENDING)
        found += [
            file
            for file in components.in_status(connection, facts.watch.name, stuck)
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
    components.apply(connection, list(again.values()), facts.now)
    woken = {change.component.group_id for change in again.values()} - {None}
    groups.store(connection, [{"id": id_, "due_at": None} for id_ in woken], facts.now)
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
        if any(file.status in OPEN and file.in_delivery and file.id not in joining for file in members)
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
