"""Which rules were accepted or refused, and when."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Executable, insert, select

from carbonation_core.db.models import RulesVersion


@dataclass(frozen=True, slots=True)
class Version:
    """A version of rules.toml that was offered; `reason` says why it was refused."""

    digest: str
    accepted: bool
    reason: str | None
    at: datetime


_BRIEF = select(RulesVersion.digest, RulesVersion.accepted, RulesVersion.reason, RulesVersion.at)


def latest(connection: Connection) -> Version | None:
    """The version that was offered last."""
    return _first(connection, _BRIEF.order_by(RulesVersion.id.desc()).limit(1))


def accepted(connection: Connection) -> Version | None:
    """The version in force."""
    query = _BRIEF.where(RulesVersion.accepted).order_by(RulesVersion.id.desc()).limit(1)
    return _first(connection, query)


def text_of(connection: Connection, digest: str) -> str | None:
    """The text of an accepted version."""
    query = select(RulesVersion.text).where(RulesVersion.digest == digest, RulesVersion.accepted)
    return connection.execute(query.limit(1)).scalar()


def record(connection: Connection, digest: str, text: str, now: datetime, refused: str | None) -> None:
    """Remember a version; `refused` is the reason if it was not accepted."""
    row = {"digest": digest, "text": text, "accepted": refused is None, "reason": refused, "at": now}
    connection.execute(insert(RulesVersion).values(row))


def _first(connection: Connection, query: Executable) -> Version | None:
    row = connection.execute(query).first()
    return Version(*row) if row else None
