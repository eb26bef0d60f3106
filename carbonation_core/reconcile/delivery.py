"""What lies in delivery against what the database says: the truth wins, interrupted work goes on."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import Watch
from carbonation_core.db import components, delivered
from carbonation_core.db.components import Change, stamp_values
from carbonation_core.db.delivered import Delivered
from carbonation_core.db.engine import reading, repeatable, writing
from carbonation_core.db.locks import lock_watch
from carbonation_core.delivery.observe import observe
from carbonation_core.delivery.ownership import require_ours
from carbonation_core.disk.mark import directory_at
from carbonation_core.disk.scan import Hints
from carbonation_core.disk.stamp import Stamp
from carbonation_core.disk.walk import Entry, Pool, own_stamp, pool
from carbonation_core.lifecycle import Event, FileStatus
from carbonation_core.logs.records import about
from carbonation_core.names import to_path, to_text
from carbonation_core.project import Progress, Project
from carbonation_core.text import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeliveryReconciliation:
    """What a reconciliation of a watch's delivery found and changed, in components."""

    watch_name: str
    seen: int
    new: int
    returned: int
    cleared: int
    rechecked: int


def reconcile_delivery(
    project: Project, watch_name: str, progress: Progress = lambda what, done, of: None
) -> DeliveryReconciliation:
    """Compare all that lies in delivery, and judge anew what failed an integrity check.

    Memory grows with what differs, not with what lies there. Raises `ScanError`
    when a directory cannot be read, or is not ours; then nothing changes.
    """
    watch = project.config.watch_named(watch_name)
    lies_there = directory_at(watch.path)
    with reading(project.engine) as connection:
        require_ours(project, connection, watch, lies_there)
    with pool(project.config.service.workers) as threads:
        differing = _compared(project, watch, threads, progress)
    _take_up_left_behind(project, watch, differing.left_behind)
    found = observe(project, watch_name, Hints(files=frozenset(differing.paths)))
    rechecked = _have_failed_judged_again(project, watch_name)
    observe(project, watch_name, Hints())
    return DeliveryReconciliation(
        watch_name, differing.files, found.new, found.returned, found.gone, rechecked
    )


@repeatable
def _have_failed_judged_again(project: Project, watch_name: str) -> int:
    """How many files that failed a check are to be judged at the next look."""
    with writing(project.engine) as connection:
        lock_watch(connection, watch_name)
        failed = components.in_status(connection, watch_name, [FileStatus.INTEGRITY_FAILED])
        changes = [
            Change(file, Event.RECHECKED, "a reconcile judges it again")
            for file in failed
            if file.in_delivery
        ]
        return len(components.apply(connection, changes, project.clock()))


@dataclass
class _Differing:
    """Where tree and table differ, as paths relative to the watch, and sources that a `move` left."""

    files: int = 0
    paths: set[str] = field(default_factory=set)
    left_behind: list[int] = field(default_factory=list)


def _compared(project: Project, watch: Watch, threads: Pool, progress: Progress) -> _Differing:
    differing = _Differing()
    root = watch.root
    look = _Looking(watch, _moving(project.config))
    # The table before the tree: what the pipeline moves away in between is then
    # a difference that a second look does not confirm, not a file that came back.
    for paths, left_behind in threads.each(look.at, delivered.pages(project.engine, watch.name)):
        differing.paths |= {path.removeprefix(root) for path in paths}
        differing.left_behind += left_behind
        progress("that differ from the database", len(differing.paths), None)
    for entries in threads.walk(str(watch.path), lambda path: watch.enters(to_text(os.path.basename(path)))):
        wanted = _wanted(entries, watch)
        differing.files += len(wanted)
        progress("looked at", differing.files, None)
        with reading(project.engine) as connection:
            there = delivered.known(connection, watch.name, wanted)
        differing.paths |= {path.removeprefix(root) for path in wanted if path not in there}
    return differing


def _wanted(entries: Sequence[Entry], watch: Watch) -> list[str]:
    paths = [to_text(entry.path) for entry in entries]
    return [path for path in paths if watch.takes(path.removeprefix(watch.root))]


def _moving(config: Config) -> frozenset[str]:
    return frozenset(archive.name for archive in config.archive if archive.action == "move")


@dataclass(frozen=True)
class _Looking:
    """Looks for files that should be in delivery, from several threads."""

    watch: Watch
    moving: frozenset[str]  # archives that leave no source

    def at(self, page: Sequence[Delivered]) -> tuple[list[str], list[int]]:
        """Paths that are not as the database says, and ids of sources that a `move` left."""
        differing, left_behind = [], []
        for one in page:
            if not one.source_path.startswith(self.watch.root):
                continue
            if not self._is_as_known(one):
                differing.append(one.source_path)
            elif (
                one.status is FileStatus.ARCHIVED
                and one.archive_name in self.moving
                and not one.is_explained
                and not one.in_work
            ):
                left_behind.append(one.id)
        return differing, left_behind

    def _is_as_known(self, one: Delivered) -> bool:
        if not self.watch.takes(one.source_path.removeprefix(self.watch.root)):
            return False
        path = to_path(one.source_path)
        stamp = own_stamp(path)
        if stamp is not None and self.watch.symlinks == "follow_inside" and os.path.islink(path):
            try:
                stamp = Stamp.of(os.stat(path))
            except OSError:
                return False
        return stamp == one.stamp


@repeatable
def _take_up_left_behind(project: Project, watch: Watch, ids: Sequence[int]) -> None:
    """Archive again what a `move` should have removed from delivery, and nobody will."""
    if not ids:
        return
    now = project.clock()
    with writing(project.engine) as connection:
        lock_watch(connection, watch.name)
        owned = delivered.in_work(connection, ids)
        changes = [
            Change(
                file,
                Event.REDELIVERED,
                "its source was not removed when it was moved",
                stamp_values(file.stamp),
            )
            for file in components.by_id(connection, ids)
            if file.id not in owned
            and file.status is FileStatus.ARCHIVED
            and file.in_delivery
            and not file.error_message
        ]
        made = components.apply(connection, changes, now)
    with about(watch=watch.name):
        log.info("of moved files, %s taken up again", counted(len(made), "source"))
