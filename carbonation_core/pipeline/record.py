"""What the database remembers of an archived batch: copies, statuses, groups, members and feed."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from carbonation_core.db import batches, components, copies, feed, groups, meters
from carbonation_core.db.batches import BatchRow
from carbonation_core.db.components import Change, Component
from carbonation_core.db.engine import Connection
from carbonation_core.db.groups import GroupRow
from carbonation_core.delivery.grouping import member_of, refresh
from carbonation_core.disk.transfer import Written
from carbonation_core.lifecycle import Event, FeedEvent, Outcome, Stage, may
from carbonation_core.names import to_text
from carbonation_core.pipeline.context import StageContext
from carbonation_core.pipeline.outcomes import Ended
from carbonation_core.pipeline.placement import Kept, Transfer
from carbonation_core.pipeline.publish import CleanedUp
from carbonation_core.rules import decide
from carbonation_core.rules.readiness import shortfall


def record(
    context: StageContext,
    connection: Connection,
    batch: BatchRow,
    run_id: str,
    transfers: Sequence[Transfer],
    now: datetime,
) -> tuple[list[str], list[Ended]]:
    """Record what is in place; returns the paths of copies that this supersedes, and how each group ended.

    Whoever saw a file change meanwhile is not overruled: the stamp that is
    stored is the one that was taken, so the next look finds the difference.
    """
    ids = [written.order.component_id for job in transfers for written in job.written]
    ids += [kept.order.component_id for job in transfers for kept in job.kept]
    ids += [one.file.id for job in transfers for one in job.aside]
    ids += [giver.id for job in transfers for giver in job.givers.values()]
    current = {file.id: file for file in components.by_id(connection, ids)}
    changes = [change for job in transfers for change in _changes(job, current, now)]
    superseded = _record_copies(context, connection, transfers, current, run_id, now)
    components.apply(connection, changes, now, run_id, current)
    _retract_givers(context, connection, transfers, now)
    before = groups.by_id(connection, [job.group.id for job in transfers])
    # What joins a group that was retracted does not make it complete.
    with_losses = components.groups_with_losses(connection, before)
    rows = [_group_row(context, job, before[job.group.id], batch.rules_digest, now) for job in transfers]
    groups.store(connection, [{**row, "complete": row["id"] not in with_losses} for row in rows], now)
    news = [(before[job.group.id], job) for job in transfers if job.written]
    news = [(row, job) for row, job in news if row.id not in with_losses]
    feed.announce(connection, [(row, _event(row, job, current)) for row, job in news], now)
    ends = [_ended(job) for job in transfers]
    batches.set_members(connection, batch.id, [_member_row(ended) for ended in ends])
    _count(connection, batch.watch_name, transfers, ends, current, now)
    return superseded, ends


def _count(
    connection: Connection,
    watch_name: str,
    transfers: Sequence[Transfer],
    ends: Sequence[Ended],
    current: Mapping[int, Component],
    now: datetime,
) -> None:
    """How many came to their ends, and how long after its last file was delivered each was archived."""
    meters.ended(connection, watch_name, [one.outcome for one in ends])
    took = [
        now - max(current[written.order.component_id].quiet_since for written in job.written)
        for job in transfers
        if job.written
    ]
    files, size = sum(one.files for one in ends), sum(one.bytes for one in ends)
    meters.archived(connection, watch_name, files, size, took)


def _changes(job: Transfer, current: Mapping[int, Component], now: datetime) -> Iterator[Change]:
    """What becomes of a group's files, and of those whose copies are theirs now."""
    for written in job.written:
        file = current[written.order.component_id]
        giver = job.givers.get(file.id)
        yield _archived(file, written, job.archive.name, giver, now)
        if giver is not None:
            yield _handed_over(current[giver.id], file, written)
    for kept in job.kept:
        yield _kept(current[kept.order.component_id], kept, now)
    for one in job.aside:
        now_is = current[one.file.id]
        if now_is.status is one.file.status and now_is.stamp == one.file.stamp:
            yield Change(one.file, Event.LEFT_ALONE, one.reason)


def _record_copies(
    context: StageContext,
    connection: Connection,
    transfers: Sequence[Transfer],
    current: Mapping[int, Component],
    run_id: str,
    now: datetime,
) -> list[str]:
    """Record whose copies lie where; returns the paths of those that are superseded and to be removed."""
    made = [
        (job, written, job.givers.get(written.order.component_id))
        for job in transfers
        for written in job.written
    ]
    superseding = [
        written.order.component_id
        for _, written, giver in made
        if (written.order.supersedes and giver is None)
        or (
            current[written.order.component_id].archive_path is not None
            and context.watch.redelivery == "replace"
        )
    ]
    superseded = copies.supersede(connection, superseding, now)
    givers = {written.order.component_id: giver.id for _, written, giver in made if giver is not None}
    copies.hand_over(connection, givers)
    anew = [(job, written) for job, written, giver in made if giver is None or not written.in_place]
    again = [w.order.archive_path for _, w in anew if w.order.component_id in givers]
    copies.supersede_paths(connection, again, now)
    copies.record(connection, [_copy_row(written, job.archive.name, run_id, now) for job, written in anew])
    kept = {written.order.archive_path for _, written, _ in made}
    return [path for path in superseded if path not in kept]


def _retract_givers(
    context: StageContext, connection: Connection, transfers: Sequence[Transfer], now: datetime
) -> None:
    """Groups whose copies are those of another group now are complete no more."""
    ids = {
        giver.group_id
        for job in transfers
        for giver in job.givers.values()
        if giver.group_id is not None and giver.group_id != job.group.id
    }
    found = groups.by_id(connection, ids)
    rows: list[dict[str, Any]] = []
    for id_, files in components.of_groups(connection, ids).items():
        primary = _primary_path(context, {f.filename: f.archive_path for f in files if f.archive_path})
        row: dict[str, Any] = {"id": id_, "complete": False, "completed_at": None, "archive_path": primary}
        lies_in = (found[id_].archive_name, found[id_].archive_directory) if primary else (None, None)
        rows.append({**row, "archive_name": lies_in[0], "archive_directory": lies_in[1]})
    groups.store(connection, rows, now)
    told = [(group, FeedEvent.RETRACTED) for group in found.values() if group.complete]
    feed.announce(connection, told, now)
    refresh(connection, context.watch.root, context.rules, ids, (), now)


def record_clean_up(connection: Connection, cleaned: CleanedUp, now: datetime) -> None:
    """Remember what `clean_up` did."""
    changes = []
    for file in components.by_id(connection, cleaned.values.keys() | cleaned.linked.keys()):
        values = dict(cleaned.values.get(file.id, {}))
        before, after = cleaned.linked.get(file.id, (None, None))
        if after is not None and file.stamp == before:
            values |= components.stamp_values(after)
        if values:
            changes.append(Change(file, values=values))
    components.apply(connection, changes, now)


def _event(row: GroupRow, job: Transfer, current: Mapping[int, Component]) -> FeedEvent:
    """What the feed says of a group: that it is complete, has other bytes, or more of them."""
    if not row.complete:
        return FeedEvent.COMPLETED
    again = any(current[written.order.component_id].in_archive for written in job.written)
    return FeedEvent.REPLACED if again else FeedEvent.UPDATED


def _kept(file: Component, kept: Kept, now: datetime) -> Change:
    if kept.refused:
        return Change(file, Event.GAVE_UP, kept.reason)
    values = {"in_archive": True, "archived_at": now}
    # What was ignored stays in delivery, and says why.
    message = {} if kept.same_bytes else {"error_message": kept.reason}
    return Change(file, Event.ARCHIVED, kept.reason, {**values, **message})


def _archived(
    file: Component, written: Written, archive_name: str, giver: Component | None, now: datetime
) -> Change:
    order = written.order
    values: dict[str, Any] = {
        "archive_name": archive_name,
        "archive_path": order.archive_path,
        "digest": written.digest,
        "in_archive": True,
        "archived_at": now,
    }
    if not may(file.status, Event.ARCHIVED):
        # Overtaken: it stands elsewhere by now, but this is what is in the archive.
        return Change(file, values=values)
    values |= {"retry_count": 0, **components.stamp_values(written.stamp)}
    reason = f"as {order.archive_path}"
    if giver is not None and giver.watch_name != file.watch_name:
        reason += f", taken over from watch {giver.watch_name}, which is configured no more"
    elif giver is not None:
        reason += f', taken over from "{giver.source_path}", which left delivery and had the same bytes'
    return Change(file, Event.ARCHIVED, reason, values)


def _handed_over(giver: Component, taker: Component, written: Written) -> Change:
    if not may(giver.status, Event.HANDED_OVER):
        return Change(giver, values=components.OF_NO_COPY)  # overtaken, as above
    path = written.order.archive_path
    reason = f'"{taker.source_path}" brings the same bytes, so that "{path}" is its copy now'
    # Nobody looks for those of a watch that is configured no more.
    return Change(giver, Event.HANDED_OVER, reason, {"in_delivery": False})


def _copy_row(written: Written, archive_name: str, run_id: str, now: datetime) -> dict[str, Any]:
    return {
        "component_id": written.order.component_id,
        "archive_name": archive_name,
        "path": written.order.archive_path,
        "digest": written.digest,
        "size_bytes": written.stamp.size,
        "mtime_ns": written.stamp.mtime_ns,
        "copied_at": now,
        "run_id": run_id,
    }


def _group_row(
    context: StageContext, job: Transfer, before: GroupRow, rules_digest: str, now: datetime
) -> dict[str, Any]:
    paths = {file.filename: file.archive_path for file in job.group.files if file.archive_path}
    names = {file.id: file.filename for file in job.group.files}
    paths |= {names[w.order.component_id]: w.order.archive_path for w in job.written}
    return {
        "id": job.group.id,
        "archive_path": _primary_path(context, paths),
        "archive_name": job.archive.name,
        "archive_directory": job.group.route.directory if job.group.route else None,
        "rules_digest": rules_digest,
        "completed_at": before.completed_at or now,
        "lacks": _lacks(context, job),
        "attempts": 0,
        "due_at": None,
        "deadline_at": None,
        "timed_out_at": None,
    }


def _lacks(context: StageContext, job: Transfer) -> str | None:
    """What the group is archived without."""
    taken = {one.order.component_id for one in job.written} | {one.file.id for one in job.aside}
    there = [file for file in job.group.files if file.id in taken or file.in_archive]
    return shortfall([member_of(file, context.watch.root) for file in there], context.rules).in_words


def _primary_path(context: StageContext, paths: Mapping[str, str]) -> str | None:
    """Where a group's primary file lies; `paths` are those of its files, by their names."""
    primary = min(paths, key=lambda name: decide.in_order(name, context.rules), default=None)
    return paths[primary] if primary else None


def _member_row(ended: Ended) -> dict[str, Any]:
    return {
        "group_id": ended.group_id,
        "stage": Stage.ARCHIVE,
        "outcome": ended.outcome,
        "reason": ended.reason,
        "files": ended.files,
        "bytes": ended.bytes,
    }


def _ended(job: Transfer) -> Ended:
    refused = [kept for kept in job.kept if kept.refused]
    if refused:
        outcome = Outcome.FAILED
        reason = "; ".join(f"{to_text(kept.order.name)}: {kept.reason}" for kept in refused)
    elif job.written:
        outcome, reason = Outcome.ARCHIVED, job.group.reason or ""
    else:
        reasons = {kept.reason for kept in job.kept} or {file.reason for file in job.aside}
        outcome, reason = Outcome.UNCHANGED, "; ".join(sorted(reasons))
    return Ended(
        job.group.id,
        job.group.key,
        outcome,
        reason,
        files=len(job.written),
        bytes=sum(written.stamp.size for written in job.written),
        archive_name=job.archive.name,
    )
