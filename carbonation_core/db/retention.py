"""Rows that have grown old: which there are, and their end."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, exists, select
from sqlalchemy.orm import aliased

from carbonation_core.db.engine import chunks
from carbonation_core.db.models import Batch, BatchGroup, StatusChange


def old_changes(connection: Connection, before: datetime, after_id: int, limit: int) -> list[int]:
    """Changes of status from before that time which are not a component's last one, in order of their ids."""
    newer = aliased(StatusChange)
    has_newer = exists().where(newer.component_id == StatusChange.component_id, newer.id > StatusChange.id)
    query = (
        select(StatusChange.id)
        .where(StatusChange.id > after_id, StatusChange.at < before, has_newer)
        .order_by(StatusChange.id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def delete_changes(connection: Connection, ids: Sequence[int]) -> None:
    """Forget these changes of status."""
    for chunk in chunks(ids):
        connection.execute(delete(StatusChange).where(StatusChange.id.in_(chunk)))


def old_batches(connection: Connection, before: datetime, after_id: str, limit: int) -> list[str]:
    """Batches that ended before that time, in order of their ids."""
    query = select(Batch.id).where(Batch.id > after_id, Batch.ended_at < before).order_by(Batch.id)
    return list(connection.execute(query.limit(limit)).scalars())


def delete_batches(connection: Connection, ids: Sequence[str]) -> None:
    """Forget these batches, and which groups were in them."""
    for chunk in chunks(ids):
        connection.execute(delete(BatchGroup).where(BatchGroup.batch_id.in_(chunk)))
        connection.execute(delete(Batch).where(Batch.id.in_(chunk)))
