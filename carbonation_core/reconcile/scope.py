"""Which archives are compared, and which part of each: what a person names by watch and path."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carbonation_core.config.sections import Archive
from carbonation_core.db import copies, watches
from carbonation_core.db.engine import reading
from carbonation_core.disk.paths import absolute, relative_to
from carbonation_core.errors import QueryError
from carbonation_core.names import to_text
from carbonation_core.project import Project, rules_in_force
from carbonation_core.rules.decide import reachable_archives


@dataclass(frozen=True)
class Scope:
    """What is compared: of one watch only, below these paths only; else all.

    Paths are absolute, normalised and spelled as text; see `paths_in`. `but_of`: not
    what these watches brought; see `watches_of_others`.
    """

    watch_name: str | None = None
    paths: tuple[str, ...] = ()
    but_of: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.watch_name is None and not self.paths


ALL = Scope()


def watches_of_others(project: Project) -> tuple[str, ...]:
    """Those whose files other sites compare.

    An archive of theirs may have the name of one of ours and lie on another disk,
    where all that is theirs would look lost.
    """
    with reading(project.engine) as connection:
        owned = watches.by_site(connection)
    ours = project.config.service.site_name
    return tuple(name for site, names in owned.items() if site != ours for name in names)


def archives_of(project: Project, watch_name: str | None = None) -> list[str]:
    """The archives to which files of a watch come, or came; without one, of any watch: all."""
    config = project.config
    if watch_name is None:
        return [archive.name for archive in config.archive]
    fed = reachable_archives(config.watch_named(watch_name), rules_in_force(project), config)
    with reading(project.engine) as connection:
        return [
            archive.name
            for archive in config.archive
            if archive.name in fed or copies.count(connection, archive.name, watch_name)
        ]


def paths_in(project: Project, archive_names: Sequence[str], paths: Iterable[str]) -> dict[str, Scope]:
    """The archives that these paths lie in, each with its part of them; all of them if there are none.

    A relative path is one from here if that leads into an archive, by way of symlinks
    too, else one below each archive's base_path. Raises `QueryError` for a path that leads
    into none, or to nothing that is or was there.
    """
    archives = [project.config.archive_named(name) for name in archive_names]
    found: dict[str, list[str]] = {}
    nothing_given = True
    for path in paths:
        nothing_given = False
        here = absolute(path)
        places = [
            (archive, archive.base / relative)
            for archive in archives
            if (relative := relative_to(archive.base, here)) is not None
        ]
        if not places and not os.path.isabs(path):
            below = [(archive, Path(os.path.normpath(archive.base / path))) for archive in archives]
            places = [(archive, place) for archive, place in below if place.is_relative_to(archive.base)]
        if not places:
            bases = ", ".join(f'"{archive.base}"' for archive in archives)
            raise QueryError(f'"{to_text(path)}" lies in no archive; they are below {bases}')
        there = [(archive, place) for archive, place in places if _is_or_was(project, archive, place)]
        if not there:
            where = " or ".join(f'"{to_text(str(place))}"' for _, place in places)
            raise QueryError(f"nothing is at {where}, and nothing was archived there")
        for archive, place in there:
            found.setdefault(archive.name, []).append(to_text(str(place)))
    if nothing_given:
        return dict.fromkeys(archive_names, ALL)
    return {name: Scope(paths=tuple(places)) for name, places in found.items()}


def _is_or_was(project: Project, archive: Archive, place: Path) -> bool:
    if os.path.lexists(place):
        return True
    with reading(project.engine) as connection:
        return copies.count(connection, archive.name, below=[to_text(str(place))]) > 0
