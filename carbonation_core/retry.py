"""Somebody asks for another attempt."""

from carbonation_core.db import components, groups
from carbonation_core.db.components import Change
from carbonation_core.db.engine import writing
from carbonation_core.errors import QueryError
from carbonation_core.filters import spelled
from carbonation_core.lifecycle import Event, FileStatus
from carbonation_core.project import Project

RETRIABLE = (
    FileStatus.FAILED,
    FileStatus.INTEGRITY_FAILED,
    FileStatus.TIMED_OUT,
    FileStatus.NOT_SELECTED,
    FileStatus.RETRY_PENDING,
)


def retry(
    project: Project,
    watch_name: str | None = None,
    group_key: str | None = None,
    status: FileStatus = FileStatus.FAILED,
) -> int:
    """Have every matching component judged anew at the next look; returns how many.

    Only what still lies in delivery can be tried again. A key that is not UTF-8
    may be given as the operating system does. Raises `QueryError` for a group that
    is not there, `ConfigError` for a watch that is not.
    """
    if status not in RETRIABLE:
        raise QueryError(f'status "{status}" cannot be retried; those that can: {", ".join(RETRIABLE)}')
    group_key = None if group_key is None else spelled(group_key)
    names = [watch_name] if watch_name else [watch.name for watch in project.config.watch]
    now = project.clock()
    retried = 0
    known = False
    for name in names:
        project.config.watch_named(name)
        with writing(project.engine) as connection:
            components.lock(connection, f"watch:{name}")
            found = components.in_status(connection, name, [status])
            if group_key is not None:
                group = groups.by_key(connection, name, [group_key]).get(group_key)
                known = known or group is not None
                found = [file for file in found if group is not None and file.group_id == group.id]
            found = [file for file in found if file.in_delivery]
            changes = [Change(file, Event.RETRIED, "asked for by hand") for file in found]
            retried += len(components.apply(connection, changes, now))
            ids = {file.group_id for file in found if file.group_id is not None}
            rows = [
                {"id": id_, "attempts": 0, "due_at": None, "timed_out_at": None, "reopened_at": now}
                for id_ in ids
            ]
            groups.store(connection, rows, now)
    if group_key is not None and not known:
        raise QueryError(f'there is no group "{group_key}"')
    return retried
