"""Whose each watch is: a site's, and the directory's that it looked at first."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from carbonation_core.db.engine import chunks
from carbonation_core.db.models import WatchOwner
from carbonation_core.disk.mark import Directory


@dataclass(frozen=True, slots=True)
class Owner:
    """The site that a watch belongs to, since when, and its directory as that last saw it."""

    site: str
    since: datetime
    directory: Directory


def owner(connection: Connection, watch_name: str) -> Owner | None:
    """Whose the watch is; None before its first look."""
    return owners(connection, [watch_name]).get(watch_name)


def owners(connection: Connection, watch_names: Iterable[str]) -> dict[str, Owner]:
    """Whose these watches are, as far as they were looked at."""
    found: dict[str, Owner] = {}
    for chunk in chunks(watch_names):
        query = select(WatchOwner.__table__).where(WatchOwner.watch_name.in_(chunk))
        for row in connection.execute(query):
            directory = Directory(row.mark, row.host, row.file_system, row.inode)
            found[row.watch_name] = Owner(row.site, row.since, directory)
    return found


def by_site(connection: Connection) -> dict[str, list[str]]:
    """The names of the watches of each site."""
    found: dict[str, list[str]] = {}
    query = select(WatchOwner.site, WatchOwner.watch_name).order_by(WatchOwner.watch_name)
    for site, watch_name in connection.execute(query):
        found.setdefault(site, []).append(watch_name)
    return found


def give(connection: Connection, watch_name: str, to: Owner) -> None:
    """Have the watch belong to that one; its lock is to be held."""
    connection.execute(delete(WatchOwner).where(WatchOwner.watch_name == watch_name))
    directory = to.directory
    connection.execute(
        insert(WatchOwner).values(
            watch_name=watch_name,
            site=to.site,
            since=to.since,
            mark=directory.mark,
            host=directory.host,
            file_system=directory.file_system,
            inode=directory.inode,
        )
    )
