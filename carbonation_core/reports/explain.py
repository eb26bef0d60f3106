"""The whole story of a file or a group: where it stands and why, what it waits for, what happened to it."""

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from carbonation_core.config.sections import Watch
from carbonation_core.db import batches, components, groups, tallies
from carbonation_core.db import history as story
from carbonation_core.db.components import Component
from carbonation_core.db.engine import Connection, reading
from carbonation_core.db.groups import GroupRow
from carbonation_core.db.history import Attempt, Copy, Entry, Step
from carbonation_core.delivery.grouping import key_by_name, strays_of
from carbonation_core.disk.paths import absolute, relative_to
from carbonation_core.disk.stamp import Stamp
from carbonation_core.lifecycle import STRAY, FileStatus
from carbonation_core.names import matches_any, to_path, to_text
from carbonation_core.project import Project, rules_accepted
from carbonation_core.reports.waiting import Wait, file_waits, group_waits
from carbonation_core.rules import decide
from carbonation_core.rules.near_misses import like_keys, like_pattern
from carbonation_core.rules.rule_sets import Rules
from carbonation_core.text import ago, shown

MOST = 20  # files of one name that are told of

GOES_ON = {  # where a file stands that does not go on by itself, and what brings it further
    FileStatus.INTEGRITY_FAILED: "it is checked again when its bytes or the rules change, "
    "at a reconcile, or by carbonation retry --status integrity_failed",
    FileStatus.TIMED_OUT: "it goes on when a sibling arrives, or by carbonation retry --status timed_out",
    FileStatus.NOT_SELECTED: "it is judged again when its bytes or the rules change, "
    "or by carbonation retry --status not_selected",
    FileStatus.FAILED: "it is tried again when its bytes or the rules change, or by carbonation retry",
    FileStatus.CLEARED: "it goes on when it comes back to delivery",
    FileStatus.MISSING: "it goes on when its copy is back in the archive, or when it is delivered again",
}


@dataclass(frozen=True)
class FileStory:
    """A delivered file. `stands` says in a sentence where it is and what it waits for."""

    watch_name: str
    path: str
    status: FileStatus
    stands: str
    reason: str | None
    waits_until: datetime | None
    on_disk: str
    in_delivery: bool
    in_archive: bool
    size_bytes: int
    digest: str | None
    seen_at: datetime
    attempts_failed: int
    copies: tuple[Copy, ...]
    missing_copies: tuple[str, ...]  # paths of current ones that do not lie there now
    history: tuple[Step, ...]


@dataclass(frozen=True)
class GroupStory:
    """A group with all its files. `stands` says in a sentence where it is and what it waits for."""

    watch_name: str
    group_key: str
    file_type: str | None
    stands: str
    waits_until: datetime | None
    complete: bool
    created_at: datetime
    reopened_at: datetime | None
    completed_at: datetime | None
    archive_name: str | None
    archive_path: str | None
    rules_digest: str | None
    files: tuple[FileStory, ...]
    attempts: tuple[Attempt, ...]
    feed: tuple[Entry, ...]


@dataclass(frozen=True)
class WatchVerdict:
    """Whether a watch would take a file of that path, and why."""

    watch_name: str
    path: str
    takes: bool
    reason: str
    on_disk: str


@dataclass(frozen=True)
class Explanation:
    """All that there is to say. What no watch ever saw has the `watches` that look there, if any."""

    asked: str
    groups: tuple[GroupStory, ...]
    files: tuple[FileStory, ...]  # those without a group
    watches: tuple[WatchVerdict, ...]
    more: bool  # there are more files of that name

    @property
    def is_known(self) -> bool:
        """Whether the database knows of it."""
        return bool(self.groups or self.files)

    @property
    def fault(self) -> str | None:
        """A sentence when nothing is known."""
        if self.is_known:
            return None
        looks = "no watch has seen such a file or group"
        if "/" in self.asked and not self.watches:
            looks = "no watch looks there, and no group has that key"
        return f'nothing is known of "{self.asked}": {looks}'


def explain(project: Project, asked: str, watch_name: str | None = None) -> Explanation:
    """The story of what is asked for: a path, a file's name, or a group key.

    A path may be of delivery or of an archive, absolute, or relative to the
    current or to a watch's directory. Names are taken as the operating system
    gives them and as `carbonation_core.names` spells them. `watch_name` leaves
    out all other watches.
    """
    configured = {w.name: w for w in project.config.watch if watch_name in (None, w.name)}
    spellings = dict.fromkeys((asked, to_path(asked)))
    roots = [archive.base for archive in project.config.archive]
    paths = [to_text(path) for path in _candidates(spellings, configured.values(), roots)]
    keys = list(dict.fromkeys([to_text(to_path(asked)), to_text(asked)]))
    with reading(project.engine) as connection:
        names = {*configured, *tallies.watch_names(connection)}
        names = {name for name in names if watch_name in (None, name)}
        ids = [id_ for key in keys for id_ in story.groups_with_key(connection, names, key)]
        found = story.files_at(connection, names, paths)
        if not found and not ids:
            found = story.files_archived_at(connection, paths)
        if not found and not ids and "/" not in asked:
            found = [f for key in keys for f in story.files_named(connection, key, MOST + 1)]
        teller = _Teller(project, connection)
        if not found and not ids:
            found = teller.strays(keys)
        found = [file for file in found if file.watch_name in names]
        told = found[:MOST]
        group_of = {file.id: file.group_id or teller.group_of_stray(file) for file in told}
        ids += filter(None, group_of.values())
        return Explanation(
            to_text(to_path(asked)),
            groups=tuple(map(teller.group, dict.fromkeys(ids))),
            files=tuple(teller.file(file) for file in told if group_of[file.id] is None),
            watches=() if told or ids else tuple(_verdicts(spellings, configured.values())),
            more=len(found) > MOST,
        )


def file_stands(
    file: Component, since: datetime | None, wait: Wait | None, told: Collection[str] = ()
) -> str:
    """Where a file stands, in a sentence without its subject; a reason that was `told` is left out."""
    status = file.status
    at = f" since {shown(since)}" if since else ""
    why = f": {file.error_message}" if file.error_message and file.error_message not in told else ""
    if wait is not None:
        return f"{wait.says}{why}"
    if status is FileStatus.ARCHIVED:
        gone = "" if file.in_delivery else ", and has left delivery"
        return f"is archived{at}{gone}{why}"
    if status is FileStatus.WAITING:
        return f"waits for its group{at}{why}"
    goes_on = GOES_ON.get(status)
    return f"is {status}{at}{why}" + (f"; {goes_on}" if goes_on else "")


def group_stands(group: GroupRow, files: Sequence[Component], wait: Wait | None, now: datetime) -> str:
    """Where a group stands, in a sentence without its subject."""
    done = f"is complete since {shown(group.completed_at)}" if group.completed_at else "is complete"
    if wait is not None:
        since = group.reopened_at or group.created_at
        again = f"{done}, and has files again: it " if group.complete else ""
        why = "".join(f": {reason}" for reason in _reasons_to_wait(files)[:1])
        return f"{again}{wait.says}{why}; it is open for {ago(now - since)}"
    at_fault = [f for f in files if f.status not in (FileStatus.ARCHIVED, FileStatus.CLEARED)]
    if group.complete and not at_fault:
        return "; ".join(filter(None, [f"{done}, in archive {group.archive_name}", group.lacks]))
    statuses = dict.fromkeys(file.status for file in at_fault or files)
    counts = ", ".join(f"{sum(f.status is s for f in files)} {s}" for s in statuses)
    reasons = dict.fromkeys(file.error_message for file in at_fault or files if file.error_message)
    if group.complete:
        so_far = f"{done}, but not all is well"
    elif group.completed_at:
        so_far = f"was complete since {shown(group.completed_at)}, and is not any more"
    else:
        so_far = "is not complete, and waits for nothing"
    return "; ".join([f"{so_far}: {counts or 'it has no files any more'}", *reasons])


def _reasons_to_wait(files: Iterable[Component]) -> list[str]:
    """Why the last attempt failed of a group that waits for its next."""
    pending = (file.error_message for file in files if file.status is FileStatus.RETRY_PENDING)
    return list(dict.fromkeys(filter(None, pending)))


def verdict(watch: Watch, relative: str) -> tuple[bool, str]:
    """Whether a watch would take a file of that path relative to it, and why."""
    relative = to_text(relative)
    if "/" in relative and not watch.recursive:
        return (
            False,
            f'is not recursive: it looks at "{to_text(str(watch.path))}" itself and at no directory in it',
        )
    *directories, name = relative.split("/")
    for pattern in watch.ignore_patterns:
        if matches_any(name, [pattern]):
            return False, f'leaves it alone: its name matches "{pattern}" of ignore_patterns'
        for directory in directories:
            if matches_any(directory, [pattern]):
                return (
                    False,
                    f'leaves it alone: directory "{directory}" matches "{pattern}" of ignore_patterns',
                )
    if not watch.takes(relative):
        patterns = ", ".join(f'"{pattern}"' for pattern in watch.patterns)
        like = like_pattern(name, watch)
        return (
            False,
            f"leaves it alone: its name matches none of its patterns {patterns}{f'; {like}' if like else ''}",
        )
    return True, f'takes it, by rule set "{watch.rules}"'


class _Teller:
    """Tells stories, of one state of the database."""

    def __init__(self, project: Project, connection: Connection) -> None:
        self._connection = connection
        self._now = project.clock()
        self._watches = {watch.name: watch for watch in project.config.watch}
        self._rules: Rules | None = rules_accepted(project, connection)

    def group(self, group_id: int) -> GroupStory:
        row = groups.by_id(self._connection, [group_id])[group_id]
        watch = self._watches.get(row.watch_name)
        rules = self._rules.sets.get(watch.rules) if self._rules and watch else None
        files = components.of_groups(self._connection, [group_id])[group_id]
        strays = []
        if watch is not None and rules is not None:
            strays = strays_of(self._connection, watch, rules, [row.group_key])[row.group_key]
        batch = batches.get(self._connection, row.batch_id) if row.batch_id else None
        keys = {row.group_key, *story.waiting_keys(self._connection, row.watch_name)}
        like = like_keys(keys).get(row.group_key)
        wait = group_waits(row, files, rules, watch, self._now, batch, strays, like)
        file_type, archive_path, rules_digest = story.extras(self._connection, group_id)
        if rules is not None:
            files = sorted(files, key=lambda file: decide.in_order(file.filename, rules))
        told = _reasons_to_wait(files)[:1] if wait else []
        return GroupStory(
            watch_name=row.watch_name,
            group_key=row.group_key,
            file_type=file_type,
            stands=group_stands(row, files, wait, self._now),
            waits_until=wait.until if wait else None,
            complete=row.complete,
            created_at=row.created_at,
            reopened_at=row.reopened_at,
            completed_at=row.completed_at,
            archive_name=row.archive_name,
            archive_path=archive_path,
            rules_digest=rules_digest,
            files=tuple(self.file(file, told) for file in (*files, *strays)),
            attempts=tuple(story.attempts(self._connection, group_id)),
            feed=tuple(story.announcements(self._connection, group_id)),
        )

    def file(self, file: Component, told: Collection[str] = ()) -> FileStory:
        watch = self._watches.get(file.watch_name)
        history = story.history(self._connection, [file.id])
        copies = story.copies(self._connection, [file.id])
        # In a group it is the group that waits, unless this very file has not settled.
        is_alone = file.group_id is None or file.status is FileStatus.DETECTED
        wait = file_waits(file, watch, self._now) if is_alone else None
        return FileStory(
            watch_name=file.watch_name,
            path=file.source_path,
            status=file.status,
            stands=file_stands(file, history[-1].at if history else None, wait, told),
            reason=file.error_message,
            waits_until=wait.until if wait else file.retry_at,
            on_disk=_on_disk(file, watch),
            in_delivery=file.in_delivery,
            in_archive=file.in_archive,
            size_bytes=file.stamp.size,
            digest=file.digest,
            seen_at=file.detected_at,
            attempts_failed=file.retry_count,
            copies=tuple(copies),
            missing_copies=tuple(
                copy.path
                for copy in copies
                if copy.superseded_at is None and not os.path.lexists(to_path(copy.path))
            ),
            history=tuple(history),
        )

    def strays(self, keys: Collection[str]) -> list[Component]:
        """Files without a group that by their names would have one of these keys."""
        found: list[Component] = []
        for watch in self._watches.values():
            if self._rules and (rules := self._rules.sets.get(watch.rules)):
                by_key = strays_of(self._connection, watch, rules, keys)
                found += [file for key in keys for file in by_key[key]]
        return found

    def group_of_stray(self, file: Component) -> int | None:
        """The group that a file without one will join, if it is there already."""
        watch = self._watches.get(file.watch_name)
        rules = self._rules.sets.get(watch.rules) if self._rules and watch else None
        key = key_by_name(file.source_path, watch, rules) if watch and rules else None
        if key is None or file.status not in STRAY or not file.in_delivery:
            return None
        return next(iter(story.groups_with_key(self._connection, [file.watch_name], key)), None)


def _candidates(
    spellings: Iterable[str], watches: Collection[Watch], archives: Iterable[Path] = ()
) -> list[str]:
    """The absolute paths that may be meant, as watches and archives spell them."""
    roots = [*(watch.path for watch in watches), *archives]
    found: dict[str, None] = {}
    for text in spellings:
        path = absolute(text)
        found[path] = None
        for watch in watches:
            if not os.path.isabs(text):  # noqa: PTH117
                found[os.path.normpath(os.path.join(watch.path, text))] = None
        for root in roots:
            if relative := relative_to(root, path):
                found[os.path.join(root, relative)] = None
    return list(found)


def _verdicts(spellings: Iterable[str], watches: Collection[Watch]) -> Iterator[WatchVerdict]:
    """What each watch would do with a file that none has seen, if it looks where that file is or would be."""
    found = {
        (watch.name, path): (watch, relative)
        for text in spellings
        for watch in watches
        for path in _candidates([text], [watch])
        # A word that is no path and no file is a group key.
        if (relative := relative_to(watch.path, path)) and ("/" in text or os.path.lexists(path))
    }
    there = {key: one for key, one in found.items() if os.path.lexists(key[1])}
    for (name, path), (watch, relative) in (there or found).items():
        takes, reason = verdict(watch, relative)
        yield WatchVerdict(name, to_text(path), takes, reason, _there(path))


def _on_disk(file: Component, watch: Watch | None) -> str:
    path = to_path(file.source_path)
    try:
        follow = watch is not None and watch.symlinks == "follow_inside"
        found = Path(path).stat(follow_symlinks=follow)
    except OSError:
        return _there(path)
    return "there" if Stamp.of(found) == file.stamp else "there, other than at the last look"


def _there(path: str) -> str:
    try:
        found = Path(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return "not there"
    except (OSError, ValueError) as error:
        return f"cannot be looked at: {getattr(error, 'strerror', None) or error}"
    return "there, a directory" if stat.S_ISDIR(found.st_mode) else "there"
