"""Forgets what is older than `history_retention`: changes of status, ended batches, arrivals in time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from carbonation_core.db import arrivals, retention, watches
from carbonation_core.db.engine import Connection, reading, repeatable, writing
from carbonation_core.project import Project

T = TypeVar("T")
PAGE = 2000  # changes in one transaction; others write in between
BATCHES = 20  # likewise; each may have hundreds of groups


@dataclass(frozen=True)
class Purged:
    """What was forgotten, or would be."""

    changes: int
    batches: int
    arrivals: int = 0


def purge_history(
    project: Project,
    older_than: timedelta | None = None,
    *,
    dry_run: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Purged:
    """Forget history older than that, `history_retention` unless given, in many short transactions.

    That of other sites' watches is theirs to forget; that of a watch which is nobody's, anybody's.
    No file, group, copy or place in the feed is ever forgotten, no arrival of which the
    feed tells, and each file keeps its last change. `stop` is asked between two transactions.
    """
    before = project.clock() - (older_than or project.config.service.history_retention)
    theirs = _of_others(project)
    changes, batches, came = 0, 0, 0
    for page in _pages(
        project, lambda reader, last: retention.old_changes(reader, before, last, PAGE, theirs), 0, stop
    ):
        if not dry_run:
            _forget(project, retention.delete_changes, page)
        changes += len(page)
    for found in _pages(
        project, lambda reader, last: retention.old_batches(reader, before, last, BATCHES, theirs), "", stop
    ):
        if not dry_run:
            _forget(project, retention.delete_batches, found)
        batches += len(found)
    for old in _pages(
        project, lambda reader, last: arrivals.old(reader, before, last, PAGE, theirs), 0, stop
    ):
        if not dry_run:
            _forget(project, arrivals.forget, old)
        came += len(old)
    return Purged(changes, batches, came)


def _of_others(project: Project) -> list[str]:
    """The watches of other sites."""
    with reading(project.engine) as connection:
        of_sites = watches.by_site(connection)
    of_sites.pop(project.config.service.site_name, None)
    return [name for names in of_sites.values() for name in names]


def _pages(
    project: Project, after: Callable[[Connection, T], Sequence[T]], first: T, stop: Callable[[], bool]
) -> Iterator[Sequence[T]]:
    """What comes after each page's last id, until nothing does."""
    last = first
    while not stop():
        with reading(project.engine) as connection:
            page = after(connection, last)
        if not page:
            return
        yield page
        last = page[-1]


@repeatable
def _forget(project: Project, delete: Callable[[Connection, Sequence[T]], None], ids: Sequence[T]) -> None:
    with writing(project.engine) as connection:
        delete(connection, ids)
