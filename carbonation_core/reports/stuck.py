"""What lies in delivery and does not get further: which group, since which attempt, and why."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from carbonation_core.db import batches, components, groups
from carbonation_core.db.components import Component
from carbonation_core.db.engine import reading
from carbonation_core.lifecycle import FAILING, FileStatus, Stage
from carbonation_core.project import Project


@dataclass(frozen=True, slots=True)
class Stuck:
    """Files of one group in delivery that have the same status; without a group, a single file.

    `name` is the group's key or the file's path. `again_at` is when it is tried
    again by itself, `run_id` the run of its last attempt, `bound_for` the archive
    that it was on its way to when that failed.
    """

    watch_name: str
    name: str
    files: tuple[str, ...]
    status: FileStatus
    reason: str
    again_at: datetime | None
    run_id: str | None
    bound_for: str | None


def stuck(project: Project, watch_name: str, statuses: Collection[FileStatus]) -> list[Stuck]:
    """What of a watch lies in delivery in one of these statuses, by name."""
    with reading(project.engine) as connection:
        found = components.in_status(connection, watch_name, statuses)
        together: dict[tuple[object, FileStatus], list[Component]] = defaultdict(list)
        for file in found:
            if file.in_delivery:
                together[file.group_id or file.source_path, file.status].append(file)
        ids = {file.group_id for file in found if file.group_id is not None}
        keys = {id_: row.group_key for id_, row in groups.by_id(connection, ids).items()}
        last = batches.last_of(connection, ids)
    return sorted(
        (_of(files, keys, last) for files in together.values()), key=lambda one: (one.name, one.status)
    )


def stuck_transfers(project: Project, archive_name: str) -> list[Stuck]:
    """What waits, or was given up, because its transfer into this archive failed."""
    return [
        one
        for watch in project.config.watch
        for one in stuck(project, watch.name, FAILING)
        if one.bound_for == archive_name
    ]


def _of(files: list[Component], keys: dict[int, str], last: dict[int, batches.Last]) -> Stuck:
    first = files[0]
    attempt = last.get(first.group_id) if first.group_id is not None else None
    transferred = attempt is not None and attempt.stage in (Stage.ROUTE, Stage.ARCHIVE)
    return Stuck(
        first.watch_name,
        keys[first.group_id] if first.group_id is not None else first.source_path,
        tuple(sorted(file.filename for file in files)),
        first.status,
        first.error_message or "no reason given",
        min((file.retry_at for file in files if file.retry_at), default=None),
        attempt.run_id if attempt else None,
        attempt.archive_name if attempt and transferred else None,
    )
