"""Where each file of a batch goes, and whether the way is free."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import Archive
from carbonation_core.db import components, copies, watches
from carbonation_core.db.components import Component
from carbonation_core.db.engine import Connection, reading
from carbonation_core.disk import file_system, source, transfer
from carbonation_core.disk.temporary import temporary_name
from carbonation_core.disk.transfer import Order, Written
from carbonation_core.errors import AttemptFailed, EnvironmentFault
from carbonation_core.lifecycle import Event, may
from carbonation_core.names import to_path, to_text
from carbonation_core.pipeline.context import (
    Closing,
    Linked,
    OpenGroup,
    Route,
    StageContext,
    closing,
    source_of,
)
from carbonation_core.pipeline.leftovers import take_up
from carbonation_core.rules import decide
from carbonation_core.text import counted


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


@dataclass(frozen=True)
class Transfer:
    """One group's files on their way into its archive. What is `written` may have been there already.

    `givers`: by file, the one that has left delivery and whose copy, or the place of
    it, is that file's now.
    """

    group: OpenGroup
    archive: Archive
    orders: tuple[Order, ...] = ()
    written: tuple[Written, ...] = ()
    kept: tuple[Kept, ...] = ()
    aside: tuple[SetAside, ...] = ()
    givers: Mapping[int, Component] = field(default_factory=dict)


@dataclass(frozen=True)
class Archived:
    """What a step of the archive stage came to: transfers that go on, and ways that ended.

    `linked` are sources of which links were made and nothing came.
    """

    transfers: tuple[Transfer, ...] = ()
    closed: tuple[Closing, ...] = ()
    linked: Linked = field(default_factory=dict)


def prepare(context: StageContext, batch_id: str, opened: Sequence[OpenGroup]) -> Archived:
    """Decide where every file of these groups goes, and see that the way is free."""
    transfers: list[Transfer] = []
    closed: list[Closing] = []
    bases = {
        name: context.project.config.archive_named(name).base
        for name in {group.route.archive for group in opened if group.route is not None}
    }
    take_up(context, batch_id, opened)
    # Before there is a connection, as a mount whose server has gone does not answer.
    gone = {name: base for name, base in bases.items() if file_system.base_is_gone(base)}
    with reading(context.project.engine) as connection:
        unwell = _unwell(connection, gone, context.project.config) if gone else {}
        room, planner = _Room(), _Planner(context, connection, batch_id, opened)
        for group in opened:
            assert group.route is not None
            try:
                if group.route.archive in unwell:
                    raise EnvironmentFault(unwell[group.route.archive])
                job = planner.transfer(group, group.route)
                room.take(job)
                transfers.append(job)
            except AttemptFailed as error:
                closed.append(closing(group, error))
    return Archived(tuple(transfers), tuple(closed))


class _Room:
    """Free bytes of the file systems that a batch writes to, less what was planned."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}
        self._devices: dict[str, int] = {}  # by directory

    def take(self, job: Transfer) -> None:
        """Set aside what a group's copies need; raises `EnvironmentFault` when there is not enough."""
        if job.archive.action in ("hardlink", "symlink") or not job.orders:
            return
        device = self._device_of(job.orders[0].directory)
        here = [order for order in job.orders if not _may_be_linked(order, device)]
        needed = sum(order.source.stamp.size for order in here)
        left = self._left[device]
        if needed > left:
            raise EnvironmentFault(
                f'no space for {counted(needed, "byte")} in "{to_text(job.orders[0].directory)}": '
                f"{left} are left"
            )
        self._left[device] = left - needed

    def _device_of(self, directory: str) -> int:
        if directory not in self._devices:
            self._devices[directory], free = file_system.free_space(directory)
            self._left.setdefault(self._devices[directory], free)
        return self._devices[directory]


def _may_be_linked(order: Order, device: int) -> bool:
    """Whether a move needs no room, being a link on the same file system."""
    return order.action == "move" and source.device_of(order.source) == device


def _unwell(connection: Connection, gone: Mapping[str, Path], config: Config) -> dict[str, str]:
    """Of the archives whose bases are gone or empty those that held files, as a mount that has gone did."""
    ours = {watch.name for watch in config.watch}
    ours.update(watches.by_site(connection).get(config.service.site_name, ()))
    found = {}
    for name, base in gone.items():
        if copies.are_below(connection, name, to_text(str(base))):
            found[name] = f'base_path "{base}" held files and is gone or empty; is it mounted?'
            if not copies.are_below(connection, name, to_text(str(base)), ours):
                found[name] += (
                    " These were all of other sites: if they have another disk at this path, this archive "
                    "needs another path"
                )
    return found


class _Planner:
    """Finds the final names of a batch's files, so that no two of them share one.

    Known are the components whose current copies lie under the paths that were
    asked of, and which of them have left delivery, or are of a watch of this site
    that is configured no more, as one with another name is.
    """

    def __init__(
        self, context: StageContext, connection: Connection, batch_id: str, opened: Sequence[OpenGroup]
    ) -> None:
        self._context, self._connection, self._batch_id = context, connection, batch_id
        wanted = [
            to_text(os.path.join(to_path(group.route.directory), to_path(file.filename)))
            for group in opened
            if group.route is not None
            for file in group.asking
        ]
        self._owners: dict[str, int] = {}
        self._gone: dict[int, Component] = {}
        self._givers: dict[int, Component] = {}
        config = context.project.config
        by_site = watches.by_site(connection)
        ours = by_site.pop(config.service.site_name, [])
        self._retired = set(ours) - {watch.name for watch in config.watch}
        self._sites = {name: site for site, names in by_site.items() for name in names}  # of the others
        self._of_others: dict[int, str] = {}
        self._ask(wanted)

    def _ask(self, paths: Iterable[str]) -> None:
        """Learn whose copies lie there."""
        owners = copies.owners(self._connection, paths)
        self._owners |= owners
        for file in components.by_id(self._connection, owners.values()):
            if site := self._sites.get(file.watch_name):
                self._of_others[file.id] = site
            is_ours = file.watch_name == self._context.watch.name
            has_left = not file.in_delivery if is_ours else file.watch_name in self._retired
            is_given = any(file.id == giver.id for giver in self._givers.values())
            if has_left and not is_given and may(file.status, Event.HANDED_OVER):
                self._gone[file.id] = file

    def transfer(self, group: OpenGroup, route: Route) -> Transfer:
        """What is to be done about each file of a group."""
        archive = self._context.project.config.archive_named(route.archive)
        found = [self._decided(file, self._order(file, route, archive), archive) for file in group.asking]
        return Transfer(
            group,
            archive,
            tuple(one for one in found if isinstance(one, Order)),
            tuple(one for one in found if isinstance(one, Written)),
            tuple(one for one in found if isinstance(one, Kept)),
            tuple(one for one in found if isinstance(one, SetAside)),
            {file.id: self._givers[file.id] for file in group.asking if file.id in self._givers},
        )

    def _order(self, file: Component, route: Route, archive: Archive) -> Order:
        return Order(
            component_id=file.id,
            source=source_of(self._context.watch, file),
            directory=to_path(route.directory),
            name=to_path(file.filename),
            temporary=temporary_name(self._batch_id, file.id),
            action=archive.action,
            file_mode=archive.file_mode,
            durability=archive.durability,
            verify=archive.verify,
        )

    def _decided(self, file: Component, order: Order, archive: Archive) -> Order | Written | Kept | SetAside:
        if not file.in_archive and decide.is_set_aside(file.filename, self._context.rules):
            return SetAside(file)
        policy = self._context.watch.redelivery
        archived = _archived_digest(file) if file.in_archive else None
        if archived is not None:
            if transfer.digest_source(order) == archived:
                return Kept(order, "the same bytes again", same_bytes=True)
            if policy in ("ignore", "error"):
                reason = f'other bytes were delivered; redelivery = "{policy}"'
                return Kept(order, reason, refused=policy == "error")
        again = file.in_archive and policy == "version"
        return self._placed(file, order, again, versions=again or archive.on_conflict == "version")

    def _placed(self, file: Component, order: Order, again: bool, versions: bool) -> Order | Written:
        """The order with its final name, or that it is in place already."""
        for number in range(1, 10_000):
            candidate = order
            if number > 1:
                candidate = replace(order, name=_versioned(self._context, order.name, number))
            path = candidate.archive_path
            if number > 1 and path not in self._owners:
                self._ask([path])
            owner = self._owners.get(path)
            found: Order | Written | None = None
            if owner in self._gone and not again:
                found = self._taken_over(candidate, self._gone[owner])
            elif owner == file.id and not again:
                found = replace(candidate, supersedes=True)
            elif owner is None:
                is_free = not os.path.lexists(candidate.target)
                found = candidate if is_free else transfer.already_there(candidate)
            if found is not None:
                taken = found.order if isinstance(found, Written) else found
                self._owners[taken.archive_path] = file.id
                return found
            if not versions:
                raise AttemptFailed(f'"{path}" is taken by {self._holder(owner)}; on_conflict = "error"')
        raise AttemptFailed(f'"{order.archive_path}" and all its versions are taken')

    def _holder(self, owner: int | None) -> str:
        if owner is None:
            return "something with other bytes"
        if owner not in self._of_others:
            return "another delivered file"
        return (
            f"another delivered file, of site {self._of_others[owner]} (has that another disk at this path? "
            "then this archive needs another path)"
        )

    def _taken_over(self, order: Order, giver: Component) -> Order | Written | None:
        """The copy of a file that has left delivery, or its place if that is empty; None for other bytes."""
        path = to_path(giver.archive_path or "")
        if os.path.dirname(path) != order.directory:
            return None  # what lies there is an older version of it
        taking = replace(order, name=os.path.basename(path), supersedes=True)
        written = transfer.already_there(taking)
        if written is None and not transfer.is_gone(taking):
            return None
        if (written.digest if written else transfer.digest_source(taking)) != giver.digest:
            return None
        del self._gone[giver.id]
        self._givers[order.component_id] = giver
        return written or taking


def _archived_digest(file: Component) -> str | None:
    """SHA-256 of a file's copy, which is read where nobody has done so; None: it is not there."""
    if file.digest is not None or file.archive_path is None:
        return file.digest
    try:
        return file_system.digest_of(to_path(file.archive_path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_system.explained(error, f'"{file.archive_path}" cannot be read') from error


def _versioned(context: StageContext, name: str, number: int) -> str:
    extension = decide.extension(name, context.rules)
    return f"{name.removesuffix(extension)}.v{number}{extension}"
