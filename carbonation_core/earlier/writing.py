"""Writes what was decided, but for what is there already."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from carbonation_core.db import components, copies, groups, imports
from carbonation_core.db.engine import Connection
from carbonation_core.db.groups import GroupRow
from carbonation_core.db.models import FileBase
from carbonation_core.earlier.becomes import FileTaken, GroupTaken
from carbonation_core.lifecycle import TAKEN, FileStatus


@dataclass(frozen=True)
class Page:
    """Some of what is imported, decided; `alone` are files of no group, with their watch."""

    groups: list[GroupTaken]
    alone: list[tuple[str, FileTaken]]

    @property
    def watch_names(self) -> list[str]:
        """The watches that it is about, in the order in which they are locked."""
        return sorted({one.watch_name for one in self.groups} | {watch for watch, _ in self.alone})

    @property
    def files(self) -> list[tuple[str, FileTaken]]:
        """All files, with their watch."""
        return [(group.watch_name, file) for group in self.groups for file in group.files] + self.alone


@dataclass(frozen=True)
class Written:
    """How much of a page was written, or would be; `before` was there already, `renamed` has another key."""

    groups: int
    files: int
    before: int
    renamed: int
    notes: tuple[str, ...]


Named = tuple[str, str]  # watch and group key, or watch and path


@dataclass
class Difference:
    """A page against what is there."""

    new_groups: dict[Named, GroupTaken] = field(default_factory=dict)
    completed: list[tuple[GroupRow, GroupTaken]] = field(default_factory=list)
    new_files: list[tuple[str, FileTaken, str | None]] = field(default_factory=list)  # watch, file, group key
    before: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def written(self) -> Written:
        """The numbers."""
        new = self.new_groups.values()
        renamed = sum(one.earlier_key not in (None, one.key) for one in new)
        return Written(len(new), len(self.new_files), self.before, renamed, tuple(self.notes))


def compared(connection: Connection, page: Page) -> Difference:
    """What of a page is not there."""
    found = Difference()
    known: set[Named] = set()
    rows: dict[Named, GroupRow] = {}
    for name in page.watch_names:
        paths = [file.source_path for watch, file in page.files if watch == name]
        known |= {(name, file.source_path) for file in components.by_path(connection, name, paths)}
        keys = [one.key for one in page.groups if one.watch_name == name]
        rows |= {(name, key): row for key, row in groups.by_key(connection, name, keys).items()}
    lying = copies.owners(connection, (file.copy["path"] for _, file in page.files if file.copy))

    def take(watch_name: str, file: FileTaken, key: str | None) -> bool:
        named = (watch_name, file.source_path)
        if named in known:
            found.before += 1
            return False
        known.add(named)
        if file.copy is not None and file.copy["path"] in lying:
            found.notes.append(
                f"{file.source_path} of watch {watch_name} is not imported: {file.copy['path']} "
                "is the copy of another file here"
            )
            return False
        found.new_files.append((watch_name, file, key))
        return True

    for group in page.groups:
        named = (group.watch_name, group.key)
        there = rows.get(named)
        new = [take(group.watch_name, file, group.key) for file in group.files]
        if there is None and named not in found.new_groups:
            found.new_groups[named] = group
            continue
        found.before += not any(new)
        if there is not None and _becomes_complete(connection, there, group):
            found.completed.append((there, group))
    for watch_name, file in page.alone:
        take(watch_name, file, None)
    return found


def _becomes_complete(connection: Connection, there: GroupRow, group: GroupTaken) -> bool:
    """Whether a group that was imported while it was not complete is so by now."""
    if there.complete or there.completed_at or there.batch_id or not group.row["complete"]:
        return False
    files = components.of_groups(connection, [there.id])[there.id]
    return all(file.status in (*TAKEN, FileStatus.CLEARED) for file in files)


def write(connection: Connection, model: type[FileBase], page: Page, reason: str, now: datetime) -> Written:
    """Write what of a page is not there; its watches are locked."""
    found = compared(connection, page)
    taken = imports.ids_taken(
        connection, (one.earlier_id for one in found.new_groups.values() if one.earlier_id)
    )
    rows = [_row(one, taken) for one in found.new_groups.values()]
    imports.insert_groups(connection, model, rows)
    imports.complete_groups(
        connection, model, [{**_row(group, set()), "id": there.id} for there, group in found.completed]
    )
    ids: dict[Named, int] = {}
    for name in page.watch_names:
        keys = {key for watch, _, key in found.new_files if watch == name and key is not None}
        ids |= {(name, key): row.id for key, row in groups.by_key(connection, name, keys).items()}
    files = [
        (
            {**file.row, "watch_name": watch, "group_id": None if key is None else ids[watch, key]},
            file.copy,
        )
        for watch, file, key in found.new_files
    ]
    imports.insert_components(connection, files, reason, now)
    return found.written


def _row(group: GroupTaken, taken: set[int]) -> Mapping[str, Any]:
    """The group's row, under the id that it had, so that cursors stand on it as before, if that is free."""
    own = {"id": group.earlier_id} if group.earlier_id and group.earlier_id not in taken else {}
    return {**group.row, **group.values, **own}
