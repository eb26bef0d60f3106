"""Writes down what follows from a look at a watch."""

import os
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from carbonation_core.db import components, groups
from carbonation_core.db.components import Change
from carbonation_core.db.engine import Connection
from carbonation_core.delivery.diff import Diff, Facts
from carbonation_core.delivery.grouping import refresh
from carbonation_core.lifecycle import Event, FileStatus, may
from carbonation_core.rules import decide

_OPEN = (FileStatus.DETECTED, FileStatus.WAITING, FileStatus.RETRY_PENDING)


def record(connection: Connection, facts: Facts, found: Diff, touched: Collection[int]) -> None:
    """Write down what follows from a look, and how the groups stand now, those `touched` otherwise, too."""
    watch, now, keys = facts.watch, facts.now, found.keys
    components.record_arrivals(connection, watch.name, found.arrivals, now)
    rows = groups.ensure(connection, watch.name, watch.type, keys.values(), now)
    changes = [
        replace(change, values={**change.values, "group_id": rows[keys[change.component.id]].id})
        if change.component.id in keys
        else change
        for change in found.changes
    ]
    made = {change.component.id for change in components.apply(connection, changes, now)}
    joining = made & keys.keys()
    joined = {rows[keys[id_]].id for id_ in joining}
    arrived = {os.path.dirname(m.source_path) for m in found.manifests if m.id in made}
    joined |= _judge_by_new_sums(connection, facts, joined, arrived)
    _reopen(connection, joined, joining, now)
    by_name = groups.by_key(connection, watch.name, found.touched_keys)
    told = found.touched | joined | {row.id for row in by_name.values()} | set(touched)
    refresh(connection, facts.rules, told, found.unsettled_keys, now)


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
    found = [
        file
        for members in components.of_groups(connection, joined if rules.sidecars else ()).values()
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
