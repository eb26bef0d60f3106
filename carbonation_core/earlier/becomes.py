"""What becomes of the files and groups of carbonation 0.0.x. Decided, and not done."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from carbonation_core.config.sections import Watch
from carbonation_core.db.components import OF_NO_COPY, stamp_values
from carbonation_core.db.earlier_tables import EarlierGroup
from carbonation_core.delivery.grouping import key_by_name
from carbonation_core.disk.stamp import NEVER_SEEN, Stamp
from carbonation_core.earlier.places import Located
from carbonation_core.lifecycle import STATUSES, FileStatus
from carbonation_core.rules import decide
from carbonation_core.rules.rule_sets import RuleSet
from carbonation_core.text import listing

# Somebody decided so, or gave up; all else in delivery is looked at as if it were new.
_KEPT_IN_DELIVERY = (FileStatus.FAILED, FileStatus.NOT_SELECTED, FileStatus.TIMED_OUT)
ARCHIVED, MISSING = FileStatus.ARCHIVED, FileStatus.MISSING


@dataclass(frozen=True)
class FileTaken:
    """A file as it is imported: its row, less watch and group, and that of its copy if it has one."""

    row: Mapping[str, Any]
    copy: Mapping[str, Any] | None = None

    @property
    def status(self) -> FileStatus:
        """Where it stands from now on."""
        return FileStatus(self.row["status"])

    @property
    def source_path(self) -> str:
        """Its path in delivery, spelled as text."""
        return str(self.row["source_path"])


@dataclass(frozen=True)
class FileLeft:
    """A file that is not imported. `to_first_look`: it lies in delivery, and is judged as if it were new."""

    source_path: str
    reason: str
    to_first_look: bool = False


@dataclass(frozen=True)
class GroupTaken:
    """A group as it is imported: its row, its values of the plugin's columns, its files."""

    earlier_id: int | None
    row: Mapping[str, Any]
    files: tuple[FileTaken, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    earlier_key: str | None = None

    @property
    def key(self) -> str:
        """Its key."""
        return str(self.row["group_key"])

    @property
    def watch_name(self) -> str:
        """Its watch."""
        return str(self.row["watch_name"])


def file_becomes(file: Located, losers: Mapping[int, str], now: datetime) -> FileTaken | FileLeft:
    """What becomes of a file; `losers`: whose archive path is another's, and whose that is, by id."""
    row = file.row
    was_archived = row.in_archive or row.status in (ARCHIVED, MISSING)
    if was_archived and file.archive_path is not None:
        if file.archive is None:
            where = f"its copy {file.archive_path} lies in no archive of config.toml"
            return FileLeft(file.source_path, f"{where}; name that archive there, and import again")
        if row.id not in losers:
            return _archived(file, file.archive.name, file.archive_path, now)
        reason = f"the earlier release gave {file.archive_path} to {losers[row.id]}, too"
        if file.there is not None:
            return FileLeft(file.source_path, f"{reason}; it lies in delivery, and is judged as new", True)
        # Whose bytes lie there is known of one of them only.
        return _taken(file, MISSING, f"{reason}, and its own bytes are not known to be anywhere", now)
    status = STATUSES.get(row.status, FileStatus.DETECTED)
    if file.there is None:
        status = status if status is FileStatus.FAILED else FileStatus.CLEARED
        return _taken(file, status, row.error_message, now)
    if status in _KEPT_IN_DELIVERY:
        return _taken(file, status, row.error_message, now, file.there)
    return FileLeft(file.source_path, "it lies in delivery, and is judged as new", to_first_look=True)


def _archived(file: Located, archive_name: str, archive_path: str, now: datetime) -> FileTaken:
    row = file.row
    status = ARCHIVED if row.in_archive else MISSING
    # Unless it surely is what was archived, the first look has its bytes compared with the copy.
    stamp = file.there if file.is_as_archived and status is ARCHIVED else None
    size = row.size_bytes if row.size_bytes is not None else (file.copy or NEVER_SEEN).size
    at = row.archived_at or row.detected_at
    taken = _taken(file, status, row.error_message if status is MISSING else None, now, stamp)
    values = {
        **taken.row,
        "size_bytes": size if stamp is None else stamp.size,
        "archive_name": archive_name,
        "archive_path": archive_path,
        "in_archive": row.in_archive,
        "archived_at": at,
        "status_since": at,
    }
    copy = {
        "archive_name": archive_name,
        "path": archive_path,
        "digest": None,
        "size_bytes": size,
        "mtime_ns": 0,
        "copied_at": at,
        "run_id": None,
    }
    return FileTaken(values, copy)


def _taken(
    file: Located, status: FileStatus, reason: str | None, now: datetime, stamp: Stamp | None = None
) -> FileTaken:
    row = file.row
    cleared_at = (row.cleared_at or now) if status is FileStatus.CLEARED else row.cleared_at
    return FileTaken(
        {
            "source_path": file.source_path,
            "filename": file.source_path.rpartition("/")[2],
            **stamp_values(stamp or NEVER_SEEN._replace(size=row.size_bytes or 0)),
            "quiet_since": now,
            "status": status,
            "status_since": cleared_at if status is FileStatus.CLEARED else row.detected_at,
            "in_delivery": stamp is not None,
            "error_message": reason,
            "retry_count": row.retry_count,
            "detected_at": row.detected_at,
            "archived_at": row.archived_at,
            "cleared_at": cleared_at,
            **OF_NO_COPY,
        }
    )


def group_becomes(
    group: EarlierGroup,
    files: Sequence[FileTaken],
    left: Collection[FileLeft],
    watch: Watch | None,
    rules: RuleSet | None,
) -> GroupTaken | None:
    """What becomes of a group with these files; None if the first look makes it anew.

    It is complete if it was and each of its files is in the archive. If one has gone
    missing it was complete, and the feed says that it is so no more.
    """
    standing = [one for one in files if one.status is not FileStatus.CLEARED]
    if not standing and not group.complete:
        return None
    archived = [one for one in standing if one.copy is not None]
    lost = [one for one in archived if one.status is MISSING]
    open_ = [one for one in standing if one.copy is None]
    was_whole = group.complete and bool(archived) and not open_ and not left
    key, notes = _key(group, standing, watch, rules)
    if group.complete and not was_whole:
        reasons = [f"{one.source_path}: {one.row['error_message'] or one.status}" for one in open_]
        reasons += [f"{one.source_path}: {one.reason}" for one in left]
        why = "; ".join(reasons) or "none of its files was archived"
        notes = (*notes, f"is not complete here: {why}")
    path = _primary_path(group, archived, rules)
    first = next((one for one in archived if one.row["archive_path"] == path), None)
    row = {
        "watch_name": group.watch_name,
        "file_type": group.file_type,
        "group_key": key,
        "complete": was_whole and not lost,
        "completed_at": group.completed_at or group.modified_at or group.created_at if was_whole else None,
        "created_at": group.created_at,
        "modified_at": group.modified_at or group.created_at,
        "retention_date": group.retention_date,
        "archive_path": path,
        "archive_name": first.row["archive_name"] if first else None,
        "archive_directory": path.rpartition("/")[0] if path else None,
    }
    if group.metadata is not None:
        row["metadata"] = group.metadata
    return GroupTaken(group.id, row, tuple(files), group.values, notes, group.group_key)


def alone_becomes(file: FileTaken, watch_name: str, watch: Watch | None) -> GroupTaken | None:
    """The group of one of an archived file that had none; None if it is not in an archive."""
    if file.copy is None:
        return None
    at = file.row["archived_at"]
    path = str(file.row["archive_path"])
    key = file.source_path.removeprefix(watch.root) if watch else file.source_path
    row = {
        "watch_name": watch_name,
        "file_type": watch.type if watch else None,
        "group_key": key,
        "complete": file.status is ARCHIVED,
        "completed_at": at,
        "created_at": file.row["detected_at"],
        "modified_at": at,
        "retention_date": None,
        "archive_path": path,
        "archive_name": file.row["archive_name"],
        "archive_directory": path.rpartition("/")[0],
    }
    return GroupTaken(None, row, (file,))


def losers(shared: Mapping[str, Sequence[Located]]) -> dict[int, str]:
    """Of files that were given one archive path all but one, and whose it is.

    That is one that was delivered and has the size of what lies there, and of several
    the one that was archived first: the earlier release took a second file of that size
    for archived, and wrote nothing.
    """
    found: dict[int, str] = {}
    for several in shared.values():
        winner = min(several, key=_claim)
        found |= {one.row.id: winner.source_path for one in several if one is not winner}
    return found


def _claim(file: Located) -> tuple[bool, bool, datetime, int]:
    row = file.row
    has_its_size = file.copy is not None and file.copy.size == row.size_bytes
    return (row.watch_name is None, not has_its_size, row.archived_at or row.detected_at, row.id)


def _key(
    group: EarlierGroup, files: Sequence[FileTaken], watch: Watch | None, rules: RuleSet | None
) -> tuple[str, tuple[str, ...]]:
    """The key that the group's files would have now, and why not if it keeps another."""
    if watch is None or rules is None:
        return group.group_key, ()
    ours = [one.source_path for one in files if one.source_path.startswith(watch.root)]
    keys = {key_by_name(path, watch, rules) for path in ours}
    if None in keys or not keys:
        return group.group_key, ()
    if len(keys) == 1:
        return str(keys.pop()), ()
    named = listing(key for key in keys if key is not None)
    return group.group_key, (
        f"keeps its key, though its files would now be of several groups: {named}; "
        "across_directories = true keeps such groups together",
    )


def _primary_path(group: EarlierGroup, archived: Sequence[FileTaken], rules: RuleSet | None) -> str | None:
    paths = {str(one.row["archive_path"]): str(one.row["filename"]) for one in archived}
    if group.archive_path in paths:
        return group.archive_path
    if rules is None:
        return min(paths, default=None)
    return min(paths, key=lambda path: decide.in_order(paths[path], rules), default=None)
