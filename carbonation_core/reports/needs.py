"""What needs somebody: groups that failed, wait for another attempt or are late."""

import shlex
from dataclasses import dataclass
from datetime import datetime

from carbonation_core.db import components, counts, groups
from carbonation_core.db.components import Component
from carbonation_core.db.engine import reading
from carbonation_core.lifecycle import FAILING, FileStatus
from carbonation_core.project import Project
from carbonation_core.reports.waiting import Overlong, Waiter

NEEDING = (FileStatus.FAILED, FileStatus.INTEGRITY_FAILED, FileStatus.RETRY_PENDING)  # in this order


@dataclass(frozen=True, slots=True)
class Need:
    """A group, or a file without one (`group_key` is None), that does not get further as it should.

    `name` is the key, or the file's path. `until` is when it is tried again or times out by
    itself, None if it does not. `command` is what a person types to go on, or to see more.
    """

    watch_name: str
    group_key: str | None
    name: str
    status: FileStatus
    since: datetime
    reason: str
    until: datetime | None
    command: str


def needs(project: Project, overlong: Overlong) -> tuple[Need, ...]:
    """All that needs somebody; what does not go on by itself comes first, then by age.

    `overlong` are those who wait too long; one of them that failed, too, is told of once.
    """
    names = [watch.name for watch in project.config.watch]
    with reading(project.engine) as connection:
        since = counts.held_up(connection, names, NEEDING)
        files = components.by_id(connection, since)
        rows = groups.by_id(connection, {file.group_id for file in files if file.group_id is not None})
    keys = {id_: row.group_key for id_, row in rows.items()}
    found: dict[tuple[str, str], Need] = {}
    for file in sorted(files, key=lambda file: (NEEDING.index(file.status), since[file.id], file.id)):
        need = _of_file(file, since[file.id], keys.get(file.group_id) if file.group_id is not None else None)
        found.setdefault((need.watch_name, need.name), need)
    for waiter in overlong.waiters:
        found.setdefault((waiter.watch_name, waiter.name), _of_waiter(waiter))
    return tuple(
        sorted(found.values(), key=lambda need: (need.status is FileStatus.RETRY_PENDING, need.since))
    )


def _of_file(file: Component, since: datetime, key: str | None) -> Need:
    return Need(
        file.watch_name,
        key,
        key or file.source_path,
        file.status,
        since,
        file.error_message or "no reason given",
        file.retry_at,
        _retry(file.watch_name, key, file.status),
    )


def _of_waiter(waiter: Waiter) -> Need:
    command = _typed("explain", waiter.name, "--watch-name", waiter.watch_name)
    return Need(
        waiter.watch_name,
        waiter.group_key,
        waiter.name,
        FileStatus.TIMED_OUT if waiter.waits_for.startswith("timed out") else FileStatus.WAITING,
        waiter.since,
        waiter.waits_for,
        waiter.until,
        command,
    )


def _retry(watch_name: str, key: str | None, status: FileStatus) -> str:
    which = ["--group-key", key] if key is not None else []
    known = FAILING if key is not None else (FileStatus.FAILED,)
    how = ["--status", status.value] if status not in known else []
    return _typed("retry", "--watch-name", watch_name, *which, *how)


def _typed(*words: str) -> str:
    return f"carbonation {shlex.join(words)}"
