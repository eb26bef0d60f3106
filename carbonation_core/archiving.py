"""The archive stage: where each file goes, the transfer of a whole batch, and its record.

The order is written, durable, renamed, recorded, and only then are the sources
of a `move` removed. A crash before the record is repaired by taking the names
back (`recovery`) and doing it again.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from carbonation_core import disk, source, transfer
from carbonation_core import rules as decide
from carbonation_core.db import components, groups
from carbonation_core.db.components import Change, Component
from carbonation_core.db.engine import reading
from carbonation_core.db.groups import GroupRow
from carbonation_core.errors import AttemptFailed, EnvironmentFault, Stopped
from carbonation_core.lifecycle import Event, FeedEvent, may
from carbonation_core.names import to_path, to_text
from carbonation_core.recovery import remove_superseded
from carbonation_core.scan import Stamp
from carbonation_core.sections import Archive
from carbonation_core.source import Source
from carbonation_core.stages import Bench, Closing, OpenGroup, Outcome, closing
from carbonation_core.temporary import clear, temporary_name
from carbonation_core.transfer import Order, Written

GIVEN_BACK = "the service is stopping"


@dataclass
class Transfer:
    """One group's files on their way into its archive."""

    group: OpenGroup
    archive: Archive
    orders: list[Order] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    kept: list["Kept"] = field(default_factory=list)
    aside: list["SetAside"] = field(default_factory=list)


@dataclass(frozen=True)
class SetAside:
    """A file that was only read, and stays in delivery."""

    file: Component
    reason: str = "was read, and stays in delivery: archive_sidecar = false"


@dataclass(frozen=True)
class Kept:
    """A redelivered file whose archived copy stays as it is, and why."""

    order: Order
    reason: str
    same_bytes: bool = False
    refused: bool = False  # it has failed


@dataclass
class Archived:
    """What the archive stage did: transfers in place and recorded next, and ways that ended.

    `stamps` are those of sources, by component, before and after links of ours of
    which nothing came.
    """

    transfers: list[Transfer] = field(default_factory=list)
    closed: list[Closing] = field(default_factory=list)
    stamps: dict[int, tuple[Stamp, Stamp]] = field(default_factory=dict)


class _Room:
    """Free bytes of the file systems that a batch writes to, less what was planned."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}

    def take(self, job: Transfer) -> None:
        """Set aside what a group's copies need; raises `EnvironmentFault` when there is not enough."""
        if job.archive.action in ("hardlink", "symlink") or not job.orders:
            return
        device, free = disk.free_space(job.orders[0].directory)
        here = [order for order in job.orders if not _is_linked(order, device)]
        needed = sum(order.source.stamp.size for order in here)
        left = self._left.setdefault(device, free)
        if needed > left:
            raise EnvironmentFault(
                f'no space for {needed} bytes in "{to_text(job.orders[0].directory)}": {left} are left'
            )
        self._left[device] = left - needed


def _is_linked(order: Order, device: int) -> bool:
    """Whether a move needs no room, being a link on the same file system."""
    return order.action == "move" and order.source.stamp.inode.startswith(f"{device}:")


def prepare(bench: Bench, batch_id: str, opened: Sequence[OpenGroup]) -> Archived:
    """Decide where every file of these groups goes, and see that the way is free."""
    result = Archived()
    with reading(bench.project.engine) as connection:
        unwell = _unwell(bench, connection, opened)
        room = _Room()
        wanted = [
            to_text(os.path.join(to_path(group.member.archive_directory or ""), to_path(file.filename)))
            for group in opened
            for file in group.asking
        ]
        owners = components.live_copies(connection, wanted)
        for group in opened:
            assert group.member.archive_name is not None
            try:
                if group.member.archive_name in unwell:
                    raise EnvironmentFault(unwell[group.member.archive_name])
                job = _planned(bench, connection, batch_id, group, owners)
                room.take(job)
                result.transfers.append(job)
            except AttemptFailed as error:
                result.closed.append(closing(group, error))
    return result


def write(bench: Bench, transfers: Sequence[Transfer], stop: Callable[[], bool]) -> Archived:
    """Write and verify under temporary names; a group that fails leaves nothing."""
    result = Archived()

    def one(job: Transfer) -> Closing | None:
        if stop():
            return Closing(job.group, Outcome.GIVEN_BACK, GIVEN_BACK)
        try:
            for order in job.orders:
                mode, create = job.archive.dir_mode, job.archive.create_directories
                disk.make_directory(order.directory, mode, create)
                job.written.append(transfer.write(order, stop))
        except Stopped:
            return Closing(job.group, Outcome.GIVEN_BACK, GIVEN_BACK)
        except AttemptFailed as error:
            return closing(job.group, error)
        return None

    with ThreadPoolExecutor(bench.project.config.service.workers) as pool:
        for job, ended in zip(transfers, pool.map(one, transfers), strict=True):
            _sort_out(result, job, ended)
    return _made_durable(result)


def publish(transfers: Sequence[Transfer]) -> Archived:
    """Give everything its final name, group by group and each group whole, and make the names durable."""
    result = Archived()
    for job in transfers:
        _sort_out(result, job, _published(job))
    return _named_durably(result)


def _named_durably(result: Archived) -> Archived:
    """What is left after the directories were synced."""
    durable = Archived(closed=result.closed, stamps=result.stamps)
    failed = transfer.sync_names(written for job in result.transfers for written in job.written)
    for job in result.transfers:
        errors = [failed[w.order.directory] for w in job.written if w.order.directory in failed]
        if errors:
            _withdraw(job.written)
        _sort_out(durable, job, closing(job.group, errors[0]) if errors else None)
    return durable


def _published(job: Transfer) -> Closing | None:
    done: list[Written] = []
    try:
        for written in job.written:
            done.append(transfer.publish(written))
    except AttemptFailed as error:
        _withdraw(done)
        return closing(job.group, error)
    job.written = done
    return None


def _withdraw(done: Sequence[Written]) -> None:
    for written in done:
        if not written.in_place:
            transfer.withdraw(written.order)


def record(
    bench: Bench,
    connection: Connection,
    transfers: Sequence[Transfer],
    rules_digest: str,
    run_id: str,
    now: datetime,
) -> list[str]:
    """Record what is in place; returns the paths of copies that this supersedes.

    Whoever saw a file change meanwhile is not overruled: the stamp that is
    stored is the one that was taken, so the next look finds the difference.
    """
    ids = [written.order.component_id for job in transfers for written in job.written]
    ids += [kept.order.component_id for job in transfers for kept in job.kept]
    ids += [one.file.id for job in transfers for one in job.aside]
    current = {file.id: file for file in components.by_id(connection, ids)}
    changes: list[Change] = []
    copies: list[dict[str, Any]] = []
    superseding: list[int] = []
    for job in transfers:
        for written in job.written:
            file = current[written.order.component_id]
            if written.order.supersedes or (file.digest is not None and bench.watch.redelivery == "replace"):
                superseding.append(file.id)
            changes.append(_archived(file, written, job.archive.name, now))
            copies.append(_copy_row(written, job.archive.name, run_id, now))
        changes += [_kept(current[kept.order.component_id], kept, now) for kept in job.kept]
        changes += [
            Change(one.file, Event.LEFT_ALONE, one.reason)
            for one in job.aside
            if (now_is := current[one.file.id]).status is one.file.status and now_is.stamp == one.file.stamp
        ]
    replaced = components.supersede_copies(connection, superseding, now)
    components.record_copies(connection, copies)
    components.apply(connection, changes, now, run_id)
    before = groups.by_id(connection, [job.group.row.id for job in transfers])
    # What joins a group that was retracted does not make it complete.
    bereft = components.groups_with_losses(connection, before)
    rows = [_group_row(bench, job, rules_digest, now) for job in transfers]
    groups.store(connection, [{**row, "complete": row["id"] not in bereft} for row in rows], now)
    news = [(before[job.group.row.id], job) for job in transfers if job.written]
    news = [(row, job) for row, job in news if row.id not in bereft]
    groups.announce(connection, [(row, _event(row, job, current)) for row, job in news], now)
    kept = {copy["path"] for copy in copies}
    return [path for path in replaced if path not in kept]


@dataclass(frozen=True)
class CleanedUp:
    """What removing sources and linking came to, by component: values, and stamps before and after."""

    values: Mapping[int, Mapping[str, Any]]
    stamps: Mapping[int, tuple[Stamp, Stamp]]


def clean_up(bench: Bench, transfers: Sequence[Transfer], superseded: Sequence[str]) -> CleanedUp:
    """Remove superseded copies, and the sources of a `move`, once all is recorded."""
    with reading(bench.project.engine) as connection:
        remove_superseded(connection, superseded)
    values: dict[int, dict[str, Any]] = defaultdict(dict)
    for job in transfers:
        for order in _taken(job) if job.archive.action == "move" else ():
            try:
                if source.remove(order.source):
                    values[order.component_id]["in_delivery"] = False
            except OSError as error:
                message = f"archived, but its source cannot be removed: {error.strerror}"
                values[order.component_id]["error_message"] = message
    settled = {w.order.component_id: (w.stamp, transfer.settle(w)) for job in transfers for w in job.written}
    relinked = {id_: stamps for id_, stamps in settled.items() if stamps[0] != stamps[1]}
    return CleanedUp(values, relinked)


def record_clean_up(connection: Connection, cleaned: CleanedUp, now: datetime) -> None:
    """Remember what `clean_up` did."""
    changes = []
    for file in components.by_id(connection, cleaned.values.keys() | cleaned.stamps.keys()):
        values = dict(cleaned.values.get(file.id, {}))
        before, after = cleaned.stamps.get(file.id, (None, None))
        if after is not None and file.stamp == before:
            values |= components.stamp_values(after)
        if values:
            changes.append(Change(file, values=values))
    components.apply(connection, changes, now)


def discard(transfers: Sequence[Transfer]) -> None:
    """Remove what lies under temporary names."""
    for job in transfers:
        for order in job.orders:
            clear(order.directory, order.temporary)


def _sort_out(result: Archived, job: Transfer, ended: Closing | None) -> None:
    if ended is None:
        result.transfers.append(job)
        return
    discard([job])
    result.closed.append(ended)
    if ended.outcome is Outcome.WAITING:
        return  # a source has changed, and is to settle anew
    for order in job.orders:
        before, after = order.source.stamp, source.stamp_after_link(order.source)
        if order.action in ("move", "hardlink") and before != after:
            # A link of ours is no change of the file, which would be a reason to begin anew.
            result.stamps[order.component_id] = before, after


def _made_durable(result: Archived) -> Archived:
    """What is left after everything written was synced and looked at again."""
    durable = Archived(closed=result.closed, stamps=result.stamps)
    try:
        transfer.sync(written for job in result.transfers for written in job.written)
    except AttemptFailed as error:
        for job in result.transfers:
            _sort_out(durable, job, closing(job.group, error))
        return durable
    for job in result.transfers:
        ended = None
        try:
            for written in job.written:
                transfer.verify(written)
        except AttemptFailed as error:
            ended = closing(job.group, error)
        _sort_out(durable, job, ended)
    return durable


def _unwell(bench: Bench, connection: Connection, opened: Sequence[OpenGroup]) -> dict[str, str]:
    """Archives that held files and now look like a mount that has gone."""
    found = {}
    for name in {group.member.archive_name for group in opened if group.member.archive_name}:
        base = bench.project.config.archive_named(name).base
        if disk.base_is_gone(base) and components.has_live_copies(connection, name, to_text(str(base))):
            found[name] = f'base_path "{base}" held files and is gone or empty; is it mounted?'
    return found


def _planned(
    bench: Bench, connection: Connection, batch_id: str, group: OpenGroup, owners: dict[str, int]
) -> Transfer:
    assert group.member.archive_name is not None
    assert group.member.archive_directory is not None
    archive = bench.project.config.archive_named(group.member.archive_name)
    job = Transfer(group, archive)
    for file in group.asking:
        if not file.in_archive and decide.is_set_aside(file.filename, bench.rules):
            job.aside.append(SetAside(file))
            continue
        order = _order(bench, batch_id, group, archive, file)
        if file.in_archive and file.digest is not None:
            digest = transfer.digest_source(order)
            if digest == file.digest:
                job.kept.append(Kept(order, "the same bytes again", same_bytes=True))
                continue
            policy = bench.watch.redelivery
            if policy in ("ignore", "error"):
                reason = f'other bytes were delivered; redelivery = "{policy}"'
                job.kept.append(Kept(order, reason, refused=policy == "error"))
                continue
        _place(bench, connection, job, file, order, owners)
    return job


def source_of(bench: Bench, file: Component) -> Source:
    """A component's delivered file."""
    follow = bench.watch.symlinks == "follow_inside"
    return Source(str(bench.watch.path), to_path(file.source_path), file.stamp, follow)


def _order(bench: Bench, batch_id: str, group: OpenGroup, archive: Archive, file: Component) -> Order:
    return Order(
        component_id=file.id,
        source=source_of(bench, file),
        directory=to_path(group.member.archive_directory or ""),
        name=to_path(file.filename),
        temporary=temporary_name(batch_id, file.id),
        action=archive.action,
        file_mode=archive.file_mode,
        durability=archive.durability,
        verify=archive.verify,
    )


def _place(
    bench: Bench,
    connection: Connection,
    job: Transfer,
    file: Component,
    order: Order,
    owners: dict[str, int],
) -> None:
    """Find the file's final name and note the order, or that it is in place already."""
    versions = job.archive.on_conflict == "version"
    again = file.in_archive and bench.watch.redelivery == "version"
    for number in range(1, 10_000):
        candidate = replace(order, name=_versioned(bench, order.name, number))
        path = to_text(candidate.target)
        if number > 1 and path not in owners:
            owners |= components.live_copies(connection, [path])
        owner = owners.get(path)
        if owner == file.id and not again:
            candidate = replace(candidate, supersedes=True)
        elif owner is None and not os.path.lexists(candidate.target):
            pass
        elif owner is None and (written := transfer.already_there(candidate)):
            owners[path] = file.id
            job.written.append(written)
            return
        elif versions or again:
            continue
        else:
            what = "another delivered file" if owner is not None else "something with other bytes"
            raise AttemptFailed(f'"{path}" is taken by {what}; on_conflict = "error"')
        owners[path] = file.id
        job.orders.append(candidate)
        return
    raise AttemptFailed(f'"{to_text(order.target)}" and all its versions are taken')


def _versioned(bench: Bench, name: str, number: int) -> str:
    if number == 1:
        return name
    extension = decide.extension(name, bench.rules)
    return f"{name.removesuffix(extension)}.v{number}{extension}"


def _event(row: GroupRow, job: Transfer, current: Mapping[int, Component]) -> FeedEvent:
    """What the feed says of a group: that it is complete, has other bytes, or more of them."""
    if not row.complete:
        return FeedEvent.COMPLETED
    again = any(current[written.order.component_id].in_archive for written in job.written)
    return FeedEvent.REPLACED if again else FeedEvent.UPDATED


def _taken(job: Transfer) -> Iterator[Order]:
    """The orders whose very bytes are in the archive now."""
    for written in job.written:
        yield replace(written.order, source=replace(written.order.source, stamp=written.stamp))
    yield from (kept.order for kept in job.kept if kept.same_bytes)


def _kept(file: Component, kept: Kept, now: datetime) -> Change:
    if kept.refused:
        return Change(file, Event.GAVE_UP, kept.reason)
    values = {"in_archive": True, "archived_at": now}
    # What was ignored stays in delivery, and says why.
    message = {} if kept.same_bytes else {"error_message": kept.reason}
    return Change(file, Event.ARCHIVED, kept.reason, {**values, **message})


def _archived(file: Component, written: Written, archive_name: str, now: datetime) -> Change:
    order = written.order
    values: dict[str, Any] = {
        "archive_name": archive_name,
        "archive_path": to_text(order.target),
        "digest": written.digest,
        "in_archive": True,
        "archived_at": now,
    }
    if not may(file.status, Event.ARCHIVED):
        # Overtaken: it stands elsewhere by now, but this is what is in the archive.
        return Change(file, values=values)
    values |= {"retry_count": 0, **components.stamp_values(written.stamp)}
    return Change(file, Event.ARCHIVED, f"as {to_text(order.target)}", values)


def _copy_row(written: Written, archive_name: str, run_id: str, now: datetime) -> dict[str, Any]:
    return {
        "component_id": written.order.component_id,
        "archive_name": archive_name,
        "path": to_text(written.order.target),
        "digest": written.digest,
        "size_bytes": written.stamp.size,
        "mtime_ns": written.stamp.mtime_ns,
        "copied_at": now,
        "run_id": run_id,
    }


def _group_row(bench: Bench, job: Transfer, rules_digest: str, now: datetime) -> dict[str, Any]:
    paths = {file.filename: file.archive_path for file in job.group.files if file.archive_path}
    names = {file.id: file.filename for file in job.group.files}
    paths |= {names[w.order.component_id]: to_text(w.order.target) for w in job.written}
    primary = min(paths, key=lambda name: decide.in_order(name, bench.rules), default=None)
    return {
        "id": job.group.row.id,
        "archive_path": paths.get(primary) if primary else None,
        "archive_name": job.archive.name,
        "archive_directory": job.group.member.archive_directory,
        "rules_digest": rules_digest,
        "completed_at": job.group.row.completed_at or now,
        "attempts": 0,
        "due_at": None,
        "deadline_at": None,
        "timed_out_at": None,
    }
