"""Which rules were accepted or refused, and when."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Executable, insert, select

from carbonation_core.db.models import RulesVersion


@dataclass(frozen=True, slots=True)
class Author:
    """Who stands behind a version: the file's owner, when the file was written, and who read it."""

    written_by: str | None = None
    written_at: datetime | None = None
    read_by: str | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """A version of rules.toml that was offered; `reason` says why it was refused."""

    digest: str
    accepted: bool
    reason: str | None
    at: datetime
    id: int = 0
    author: Author = Author()


_BRIEF = select(
    RulesVersion.digest,
    RulesVersion.accepted,
    RulesVersion.reason,
    RulesVersion.at,
    RulesVersion.id,
    RulesVersion.written_by,
    RulesVersion.written_at,
    RulesVersion.read_by,
)


def latest(connection: Connection) -> Version | None:
    """The version that was offered last."""
    return _first(connection, _BRIEF.order_by(RulesVersion.id.desc()).limit(1))


def accepted(connection: Connection) -> Version | None:
    """The version in force."""
    query = _BRIEF.where(RulesVersion.accepted).order_by(RulesVersion.id.desc()).limit(1)
    return _first(connection, query)


def since(connection: Connection, version_id: int, limit: int) -> list[Version]:
    """The versions that were offered after that one, the oldest first."""
    query = _BRIEF.where(RulesVersion.id > version_id).order_by(RulesVersion.id).limit(limit)
    return [_version(row) for row in connection.execute(query)]


def accepted_before(connection: Connection, version_id: int) -> Version | None:
    """The version in force when that one was offered."""
    query = _BRIEF.where(RulesVersion.accepted, RulesVersion.id < version_id)
    return _first(connection, query.order_by(RulesVersion.id.desc()).limit(1))


def text_of(connection: Connection, digest: str) -> str | None:
    """The text of an accepted version."""
    query = select(RulesVersion.text).where(RulesVersion.digest == digest, RulesVersion.accepted)
    return connection.execute(query.limit(1)).scalar()


def record(
    connection: Connection, digest: str, text: str, now: datetime, refused: str | None, author: Author
) -> None:
    """Remember a version; `refused` is the reason if it was not accepted."""
    row = {
        "digest": digest,
        "text": text,
        "accepted": refused is None,
        "reason": refused,
        "at": now,
        **asdict(author),
    }
    connection.execute(insert(RulesVersion).values(row))


def _first(connection: Connection, query: Executable) -> Version | None:
    row = connection.execute(query).first()
    return _version(row) if row else None


def _version(row: Any) -> Version:
    digest, accepted, reason, at, id_, *author = row
    return Version(digest, accepted, reason, at, id_, Author(*author))
