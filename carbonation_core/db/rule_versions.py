"""Which rules a site accepted or refused, and when.

Versions from before sites were told apart are every site's. They are older than any
other, so they hold for a site until it accepts one of its own.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, insert, select

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


def latest(connection: Connection, site: str) -> Version | None:
    """The version that the site was offered last."""
    return _first(connection, _BRIEF.where(_of(site)).order_by(RulesVersion.id.desc()).limit(1))


def accepted(connection: Connection, site: str) -> Version | None:
    """The version in force at the site."""
    query = _BRIEF.where(_of(site), RulesVersion.accepted).order_by(RulesVersion.id.desc()).limit(1)
    return _first(connection, query)


def since(connection: Connection, site: str, version_id: int, limit: int) -> list[Version]:
    """The versions that the site was offered after that one, the oldest first."""
    query = _BRIEF.where(_of(site), RulesVersion.id > version_id).order_by(RulesVersion.id).limit(limit)
    return [_version(row) for row in connection.execute(query)]


def accepted_before(connection: Connection, site: str, version_id: int) -> Version | None:
    """The version in force at the site when it was offered that one."""
    query = _BRIEF.where(_of(site), RulesVersion.accepted, RulesVersion.id < version_id)
    return _first(connection, query.order_by(RulesVersion.id.desc()).limit(1))


def text_of(connection: Connection, digest: str) -> str | None:
    """The text of an accepted version, whichever site's: the same digest is the same text."""
    query = select(RulesVersion.text).where(RulesVersion.digest == digest, RulesVersion.accepted)
    return connection.execute(query.limit(1)).scalar()


def record(
    connection: Connection,
    site: str,
    digest: str,
    text: str,
    now: datetime,
    refused: str | None,
    author: Author,
) -> None:
    """Remember a version of a site; `refused` is the reason if it was not accepted."""
    row = {
        "site": site,
        "digest": digest,
        "text": text,
        "accepted": refused is None,
        "reason": refused,
        "at": now,
        **asdict(author),
    }
    connection.execute(insert(RulesVersion).values(row))


def _of(site: str) -> ColumnElement[bool]:
    return RulesVersion.site.in_((site, ""))


def _first(connection: Connection, query: Executable) -> Version | None:
    row = connection.execute(query).first()
    return _version(row) if row else None


def _version(row: Any) -> Version:
    digest, accepted, reason, at, id_, *author = row
    return Version(digest, accepted, reason, at, id_, Author(*author))
