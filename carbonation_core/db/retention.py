"""Rows that have grown old: which there are, and their end."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, exists, select
from sqlalchemy.orm import aliased

from carbonation_core.db.engine import chunks
from carbonation_core.db.models import Batch, BatchGroup, FileComponent, StatusChange


def old_changes(
    connection: Connection, before: datetime, after_id: int, limit: int, but_of: Collection[str]
) -> list[int]:
    """Changes of status from before that time which are not a component's last one, in order of their ids.

    `but_of`: watches whose changes are left out.
    """
    newer = aliased(StatusChange)
    has_newer = exists().where(newer.component_id == StatusChange.component_id, newer.id > StatusChange.id)
    # A value for each row, and no join: for that all files could be read, for each page.
    watch_name = select(FileComponent.watch_name).where(FileComponent.id == StatusChange.component_id)
    wanted = [watch_name.scalar_subquery().not_in(but_of)] if but_of else []
    query = (
        select(StatusChange.id)
        .where(StatusChange.id > after_id, StatusChange.at < before, has_newer, *wanted)
        .order_by(StatusChange.id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def delete_changes(connection: Connection, ids: Sequence[int]) -> None:
    """Forget these changes of status."""
    for chunk in chunks(ids):
        connection.execute(delete(StatusChange).where(StatusChange.id.in_(chunk)))


def old_batches(
    connection: Connection, before: datetime, after_id: str, limit: int, but_of: Collection[str]
) -> list[str]:
    """Batches that ended before that time, in order of their ids; without those of the watches `but_of`."""
    query = select(Batch.id).where(
        Batch.id > after_id, Batch.ended_at < before, Batch.watch_name.not_in(but_of)
    )
    return list(connection.execute(query.order_by(Batch.id).limit(limit)).scalars())


def delete_batches(connection: Connection, ids: Sequence[str]) -> None:
    """Forget these batches, and which groups were in them."""
    for chunk in chunks(ids):
        connection.execute(delete(BatchGroup).where(BatchGroup.batch_id.in_(chunk)))
        connection.execute(delete(Batch).where(Batch.id.in_(chunk)))
