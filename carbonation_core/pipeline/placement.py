"""Where each file of a batch goes, and whether the way is free."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from carbonation_core.config.sections import Archive
from carbonation_core.db import components
from carbonation_core.db.components import Component
from carbonation_core.db.engine import Connection, reading
from carbonation_core.disk import file_system, transfer
from carbonation_core.disk.stamp import Stamp
from carbonation_core.disk.temporary import temporary_name
from carbonation_core.disk.transfer import Order, Written
from carbonation_core.errors import AttemptFailed, EnvironmentFault
from carbonation_core.names import to_path, to_text
from carbonation_core.pipeline.context import Closing, OpenGroup, StageContext, closing, source_of
from carbonation_core.rules import decide


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


def prepare(context: StageContext, batch_id: str, opened: Sequence[OpenGroup]) -> Archived:
    """Decide where every file of these groups goes, and see that the way is free."""
    result = Archived()
    with reading(context.project.engine) as connection:
        unwell = _unwell(context, connection, opened)
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
                job = _planned(context, connection, batch_id, group, owners)
                room.take(job)
                result.transfers.append(job)
            except AttemptFailed as error:
                result.closed.append(closing(group, error))
    return result


class _Room:
    """Free bytes of the file systems that a batch writes to, less what was planned."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}

    def take(self, job: Transfer) -> None:
        """Set aside what a group's copies need; raises `EnvironmentFault` when there is not enough."""
        if job.archive.action in ("hardlink", "symlink") or not job.orders:
            return
        device, free = file_system.free_space(job.orders[0].directory)
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


def _unwell(context: StageContext, connection: Connection, opened: Sequence[OpenGroup]) -> dict[str, str]:
    """Archives that held files and now look like a mount that has gone."""
    found = {}
    for name in {group.member.archive_name for group in opened if group.member.archive_name}:
        base = context.project.config.archive_named(name).base
        if file_system.base_is_gone(base) and components.has_live_copies(
            connection, name, to_text(str(base))
        ):
            found[name] = f'base_path "{base}" held files and is gone or empty; is it mounted?'
    return found


def _planned(
    context: StageContext, connection: Connection, batch_id: str, group: OpenGroup, owners: dict[str, int]
) -> Transfer:
    assert group.member.archive_name is not None
    assert group.member.archive_directory is not None
    archive = context.project.config.archive_named(group.member.archive_name)
    job = Transfer(group, archive)
    for file in group.asking:
        if not file.in_archive and decide.is_set_aside(file.filename, context.rules):
            job.aside.append(SetAside(file))
            continue
        order = _order(context, batch_id, group, archive, file)
        if file.in_archive and file.digest is not None:
            digest = transfer.digest_source(order)
            if digest == file.digest:
                job.kept.append(Kept(order, "the same bytes again", same_bytes=True))
                continue
            policy = context.watch.redelivery
            if policy in ("ignore", "error"):
                reason = f'other bytes were delivered; redelivery = "{policy}"'
                job.kept.append(Kept(order, reason, refused=policy == "error"))
                continue
        _place(context, connection, job, file, order, owners)
    return job


def _order(
    context: StageContext, batch_id: str, group: OpenGroup, archive: Archive, file: Component
) -> Order:
    return Order(
        component_id=file.id,
        source=source_of(context.watch, file),
        directory=to_path(group.member.archive_directory or ""),
        name=to_path(file.filename),
        temporary=temporary_name(batch_id, file.id),
        action=archive.action,
        file_mode=archive.file_mode,
        durability=archive.durability,
        verify=archive.verify,
    )


def _place(
    context: StageContext,
    connection: Connection,
    job: Transfer,
    file: Component,
    order: Order,
    owners: dict[str, int],
) -> None:
    """Find the file's final name and note the order, or that it is in place already."""
    versions = job.archive.on_conflict == "version"
    again = file.in_archive and context.watch.redelivery == "version"
    for number in range(1, 10_000):
        candidate = replace(order, name=_versioned(context, order.name, number))
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


def _versioned(context: StageContext, name: str, number: int) -> str:
    if number == 1:
        return name
    extension = decide.extension(name, context.rules)
    return f"{name.removesuffix(extension)}.v{number}{extension}"
