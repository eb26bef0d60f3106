"""Reads archived copies whose digests nobody knows, as of a database that was imported."""

import time
from collections.abc import Sequence

from carbonation_core.db import copies
from carbonation_core.db.copies import Copy
from carbonation_core.db.engine import reading, repeatable, writing
from carbonation_core.disk import file_system
from carbonation_core.disk.walk import Pool, look_at
from carbonation_core.names import to_path
from carbonation_core.project import Progress, Project
from carbonation_core.reconcile.scope import Scope

READ = "read"
AT_ONCE = 200  # digests stored together
OFTEN = 10  # seconds after which they are stored, however few
_Digest = tuple[Copy, str, int]


def read_digests(
    project: Project, archive_name: str, scope: Scope, threads: Pool, progress: Progress
) -> tuple[int, int]:
    """How many digests were read and stored, and how many are left for the next time.

    It ends after half the time that a run may take. What is missing, has another size
    or changes meanwhile is left; the comparison tells of that.
    """
    where = (archive_name, scope.watch_name, scope.paths)
    with reading(project.engine) as connection:
        total = copies.count(connection, *where, but_of=scope.but_of, unread=True)
    if not total:
        return 0, 0
    end = time.monotonic() + project.config.service.max_runtime.total_seconds() / 2
    pages = copies.live(project.engine, *where, but_of=scope.but_of, unread=True)
    unread = (copy for page in pages for copy in page)
    read: list[_Digest] = []
    done, stored_at = 0, time.monotonic()
    for one in threads.each(_read, unread):
        read += [one] if one else []
        now = time.monotonic()
        if len(read) >= AT_ONCE or now > stored_at + OFTEN or now > end:
            _store(project, read)
            done, stored_at, read = done + len(read), now, []
            progress(READ, done, total)
        if now > end:
            break
    _store(project, read)
    with reading(project.engine) as connection:
        return done + len(read), copies.count(connection, *where, but_of=scope.but_of, unread=True)


@repeatable
def _store(project: Project, read: Sequence[_Digest]) -> None:
    with writing(project.engine) as connection:
        copies.learn(connection, read)


def _read(copy: Copy) -> _Digest | None:
    """A copy with its digest and mtime; None if it cannot be told."""
    path = to_path(copy.path)
    before = look_at(path)
    if copy.in_work or isinstance(before, str) or before.size != copy.size:
        return None
    try:
        digest = file_system.digest_of(path)
    except OSError:
        return None
    return (copy, digest, before.mtime_ns) if look_at(path) == before else None
