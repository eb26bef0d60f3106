"""Rows that are imported from another database as they are."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import aliased

from carbonation_core.db import components, copies, feed, groups, tallies
from carbonation_core.db.catalog import table_of
from carbonation_core.db.components import Component
from carbonation_core.db.engine import Connection, chunks
from carbonation_core.db.locks import lock
from carbonation_core.db.models import FeedEntry, FileBase, FileComponent, Group, StatusChange
from carbonation_core.lifecycle import FeedEvent

Row = Mapping[str, Any]
_IMPORT = "import"  # the lock by which there is one at a time


def alone(connection: Connection) -> None:
    """Wait until no other import writes, to the end of the transaction."""
    lock(connection, _IMPORT)


def ids_taken(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Those of these ids that groups have."""
    found: set[int] = set()
    for chunk in chunks(ids):
        found |= set(connection.execute(select(Group.id).where(Group.id.in_(chunk))).scalars())
    return found


def insert_groups(connection: Connection, model: type[FileBase], rows: Sequence[Row]) -> None:
    """Make groups; a row without an id gets one."""
    alike: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        alike[tuple(sorted(row))].append(row)
        tallies.add(connection, row["watch_name"], tallies.GROUPS, 1)
        tallies.add(connection, row["watch_name"], tallies.COMPLETE, int(row["complete"]))
    for same in alike.values():
        connection.execute(insert(table_of(model)), same)


def complete_groups(connection: Connection, model: type[FileBase], rows: Sequence[Row]) -> None:
    """Set what is known of groups that were there and are complete now; each row has an id."""
    for row in rows:
        tallies.add(connection, row["watch_name"], tallies.COMPLETE, int(row["complete"]))
        table = table_of(model)
        values = {name: value for name, value in row.items() if name != "id"}
        connection.execute(
            update(table).where(table.c.id == bindparam("b_id")).values(values), {"b_id": row["id"]}
        )


def insert_components(
    connection: Connection, files: Sequence[tuple[Row, Row | None]], reason: str, now: datetime
) -> None:
    """Remember files, each with its copy if it has one. The history begins with `reason`."""
    alike: dict[str, list[Row]] = defaultdict(list)
    for row, _ in files:
        alike[row["watch_name"]].append(row)
        state = (row["status"], row["in_delivery"], row["in_archive"], row["size_bytes"])
        tallies.appeared(connection, row["watch_name"], state)
    ids: dict[tuple[str, str], Component] = {}
    for watch_name, rows in alike.items():
        connection.execute(insert(FileComponent), rows)
        made = components.by_path(connection, watch_name, (row["source_path"] for row in rows))
        ids |= {(watch_name, file.source_path): file for file in made}
    history, copied = [], []
    for row, copy in files:
        file = ids[row["watch_name"], row["source_path"]]
        history.append(
            {
                "component_id": file.id,
                "at": row["status_since"] or now,
                "from_status": None,
                "to_status": row["status"],
                "event": "imported",
                "reason": reason,
                "run_id": None,
            }
        )
        copied += [{**copy, "component_id": file.id}] if copy is not None else []
    if history:
        connection.execute(insert(StatusChange), history)
    copies.record(connection, copied)


def untold(connection: Connection) -> list[tuple[int, str, datetime]]:
    """Groups that were complete once and the feed does not know: id, watch, since when; in that order."""
    told = select(FeedEntry.group_id).where(FeedEntry.group_id == Group.id)
    query = (
        select(Group.id, Group.watch_name, Group.completed_at)
        .where(Group.completed_at.is_not(None), ~told.exists())
        .order_by(Group.completed_at, Group.id)
    )
    return [(id_, watch_name, at) for id_, watch_name, at in connection.execute(query) if at is not None]


def tell_completed(connection: Connection, news: Sequence[tuple[int, str, datetime]]) -> int:
    """Give these groups their places in the feed, but for those that have one by now; how many."""
    told: set[int | None] = set()
    for chunk in chunks(id_ for id_, _, _ in news):
        query = select(FeedEntry.group_id).where(FeedEntry.group_id.in_(chunk))
        told |= set(connection.execute(query).scalars())
    new = [(*one, FeedEvent.COMPLETED) for one in news if one[0] not in told]
    feed.announce_earlier(connection, [(id_, watch, event, at) for id_, watch, at, event in new])
    return len(new)


def tell_retracted(connection: Connection, now: datetime) -> int:
    """Have the feed say of groups that were complete and are not that this is so; how many."""
    of_group = aliased(FeedEntry)
    last = select(func.max(of_group.sequence)).where(of_group.group_id == Group.id).scalar_subquery()
    query = (
        select(Group.id)
        .join(FeedEntry, FeedEntry.sequence == last)
        .where(Group.completed_at.is_not(None), Group.complete.is_(False))
        .where(FeedEntry.event == FeedEvent.COMPLETED)
    )
    found = groups.by_id(connection, connection.execute(query).scalars())
    feed.announce(connection, [(row, FeedEvent.RETRACTED) for row in found.values()], now)
    return len(found)
