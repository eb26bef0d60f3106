"""Whose a watch is. Another site, or another directory under its path, concludes nothing from a look."""

import logging
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from carbonation_core.config.sections import Watch
from carbonation_core.db import service, watches
from carbonation_core.db.engine import Connection, reading, repeatable, writing
from carbonation_core.db.locks import lock_watch
from carbonation_core.db.watches import Owner
from carbonation_core.disk.mark import Directory, directory_at, put_mark
from carbonation_core.errors import NotOurs, ScanError
from carbonation_core.project import Project

log = logging.getLogger(__name__)


def marked(project: Project, watch: Watch) -> Directory:
    """The directory of the watch, which bears a mark from now on if it can.

    Raises `NotOurs` if the watch is another site's, `ScanError` if its directory is
    another one than before, or not there.
    """
    found = directory_at(watch.path)
    if found.mark is None:
        with reading(project.engine) as connection:
            owner = require_ours(project, connection, watch, found)
        put_mark(watch.path, owner.directory.mark if owner else None)
        found = replace(found, mark=directory_at(watch.path).mark)
    return found


def require_ours(project: Project, connection: Connection, watch: Watch, found: Directory) -> Owner | None:
    """Whose the watch is; raises `ScanError` if that is another site, or it had another directory before.

    Its directory is `found` before the connection is opened: a mount whose server has
    gone makes whoever asks it wait for ever, and must not have him hold a connection.
    """
    owner = watches.owner(connection, watch.name)
    if owner is not None:
        _require_ours(project, connection, watch, owner, found)
    return owner


def require_unexchanged(watch: Watch, looked_at: Directory) -> None:
    """Raise `ScanError` unless what lies at the path still is what was looked at."""
    if not directory_at(watch.path).is_still(looked_at):
        raise ScanError(f"{watch.path}: was exchanged, or its mount has gone, while it was looked at")


def keep(project: Project, connection: Connection, watch: Watch, found: Directory) -> None:
    """Note whose the watch is, under its lock; raises `ScanError` if that changed since the look began."""
    owner, ours = require_ours(project, connection, watch, found), project.config.service.site_name
    if owner is None or owner.site != ours:
        if owner is not None:
            log.warning("watch %s is taken over from site %s, which is silent", watch.name, owner.site)
        owner = Owner(ours, project.clock(), found)
    elif found.is_at(owner.directory):
        return
    watches.give(connection, watch.name, replace(owner, directory=found))


def refusals(project: Project, silent: Collection[Path] = ()) -> list[str]:
    """A sentence for each configured watch that is another site's, and that this one may not take over.

    Directories that are `silent` are not asked: they would not answer.
    """
    return list(of_others(project, [one.name for one in project.config.watch], silent).values())


def of_others(project: Project, names: Iterable[str], silent: Collection[Path] = ()) -> dict[str, str]:
    """Those of these watches that are another site's and may not be taken over, each with that sentence."""
    ours = project.config.service.site_name
    with reading(project.engine) as connection:
        others = {name: one for name, one in watches.owners(connection, names).items() if one.site != ours}
        left = {name for name, one in others.items() if _works_no_more(project, connection, one)}
    found = {}
    for name, owner in others.items():
        path = project.config.watch_named(name).path
        with suppress(ScanError):
            if name in left and path not in silent and _bears_mark_of(owner, directory_at(path)):
                continue
        found[name] = _of_another(name, owner, ours)
    return found


@repeatable
def adopt(project: Project, watch_name: str) -> Owner | None:
    """Have a watch belong to this site, and to the directory that lies at its path now; whose it was.

    The next look concludes from that directory: what it lacks has left delivery.
    Raises `ScanError` when there is no directory, `ConfigError` when there is no such watch.
    """
    watch = project.config.watch_named(watch_name)
    put_mark(watch.path)
    found = directory_at(watch.path)
    with writing(project.engine) as connection:
        lock_watch(connection, watch_name)
        before = watches.owner(connection, watch_name)
        watches.give(connection, watch_name, Owner(project.config.service.site_name, project.clock(), found))
    return before


def _works_no_more(project: Project, connection: Connection, owner: Owner) -> bool:
    return service.is_silent(connection, owner.site, project.clock())


def _bears_mark_of(owner: Owner, found: Directory) -> bool:
    return found.mark is not None and found.mark == owner.directory.mark


def _require_ours(
    project: Project, connection: Connection, watch: Watch, owner: Owner, found: Directory
) -> None:
    ours = project.config.service.site_name
    is_ours = owner.site == ours
    # Who sees the same directory takes it over when its owner works no more.
    if not is_ours and not (_bears_mark_of(owner, found) and _works_no_more(project, connection, owner)):
        raise NotOurs(_of_another(watch.name, owner, ours))
    if not found.is_still(owner.directory):
        how = "bears no mark of it" if found.mark is None else "bears another mark"
        raise ScanError(
            f"{watch.path}: is not the directory that watch {watch.name} had: it {how}; is it mounted? "
            f"If it is to be taken as it is now, run: carbonation watch adopt {watch.name}"
        )


def _of_another(watch_name: str, owner: Owner, ours: str) -> str:
    return (
        f"watch {watch_name} belongs to site {owner.site}, and this is site {ours}: nothing is looked at. "
        f"If these are other files, give the watch another name. If they are the same, set [service] "
        f'site = "{owner.site}"; or take the watch over: carbonation watch adopt {watch_name}'
    )
