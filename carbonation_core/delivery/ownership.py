"""Whose a watch is. Another site, or another directory under its path, concludes nothing from a look."""

import logging
from contextlib import suppress
from dataclasses import replace

from carbonation_core.config.sections import Watch
from carbonation_core.db import service, watches
from carbonation_core.db.engine import Connection, reading, repeatable, writing
from carbonation_core.db.locks import lock_watch
from carbonation_core.db.watches import Owner
from carbonation_core.disk.mark import Directory, directory_at, put_mark
from carbonation_core.errors import NotOurs, ScanError
from carbonation_core.project import Project

log = logging.getLogger(__name__)


def marked(project: Project, watch: Watch, owner: Owner | None) -> Directory:
    """The directory of the watch, which bears a mark from now on if it can.

    Raises `NotOurs` if the watch is another site's, `ScanError` if its directory is
    another one than before, or not there.
    """
    found = directory_at(watch.path)
    if owner is not None:
        with reading(project.engine) as connection:
            _require_ours(project, connection, watch, owner, found)
    if found.mark is None:
        put_mark(watch.path, owner.directory.mark if owner else None)
        found = replace(found, mark=directory_at(watch.path).mark)
    return found


def require_ours(project: Project, watch: Watch) -> None:
    """Raise `ScanError` if the watch is another site's, or its directory is another one than before."""
    with reading(project.engine) as connection:
        owner = watches.owner(connection, watch.name)
        if owner is not None:
            _require_ours(project, connection, watch, owner, directory_at(watch.path))


def require_unexchanged(watch: Watch, looked_at: Directory) -> None:
    """Raise `ScanError` unless what lies at the path still is what was looked at."""
    if not directory_at(watch.path).is_still(looked_at):
        raise ScanError(f"{watch.path}: was exchanged, or its mount has gone, while it was looked at")


def keep(project: Project, connection: Connection, watch: Watch, found: Directory) -> None:
    """Note whose the watch is, under its lock; raises `ScanError` if that changed since the look began."""
    owner, ours = watches.owner(connection, watch.name), project.config.service.site_name
    if owner is not None:
        _require_ours(project, connection, watch, owner, found)
    if owner is None or owner.site != ours:
        if owner is not None:
            log.warning("watch %s is taken over from site %s, which is silent", watch.name, owner.site)
        owner = Owner(ours, project.clock(), found)
    elif found.is_at(owner.directory):
        return
    watches.give(connection, watch.name, replace(owner, directory=found))


def refusals(project: Project) -> list[str]:
    """A sentence for each configured watch that is another site's, and that this one may not take over."""
    ours, found = project.config.service.site_name, []
    with reading(project.engine) as connection:
        for name, owner in watches.owners(connection, [one.name for one in project.config.watch]).items():
            if owner.site == ours:
                continue
            watch = project.config.watch_named(name)
            with suppress(ScanError):
                if _is_left(project, connection, owner, directory_at(watch.path)):
                    continue
            found.append(_of_another(name, owner, ours))
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


def _is_left(project: Project, connection: Connection, owner: Owner, found: Directory) -> bool:
    """Whether the owner works no more, and what lies here bears the mark of its directory."""
    bears_it = found.mark is not None and found.mark == owner.directory.mark
    return bears_it and service.is_silent(connection, owner.site, project.clock())


def _require_ours(
    project: Project, connection: Connection, watch: Watch, owner: Owner, found: Directory
) -> None:
    if owner.site != project.config.service.site_name and not _is_left(project, connection, owner, found):
        raise NotOurs(_of_another(watch.name, owner, project.config.service.site_name))
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
