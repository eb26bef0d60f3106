"""The front door for programs: questions about the groups, the feed, and sessions of the ORM."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from carbonation_core.db import catalogue
from carbonation_core.db.by_hand import orm_session
from carbonation_core.db.catalogue import FileQuery
from carbonation_core.db.engine import reading
from carbonation_core.db.models import FileBase
from carbonation_core.errors import QueryError
from carbonation_core.filters import Filter
from carbonation_core.project import Project, open_unchecked
from carbonation_core.status import require_database, service_state
from carbonation_core.toml import listing

Row = dict[str, Any]
_CURSOR = re.compile(r"feed:(\d{1,18})", re.ASCII)
_EARLIER_CURSOR = re.compile(r"(.+):(\d{1,18})", re.ASCII)  # <iso time>:<id> of time-based releases


class Database:
    """The groups of a project, for reading. A context manager; times are aware and in UTC.

    Paths and keys in rows and filters are spelled as `carbonation_core.names`
    does it, which is as they are for every plain UTF-8 name.
    """

    def __init__(self, project: Project) -> None:
        self.project = project

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database's connections."""
        self.project.engine.dispose()

    @property
    def file_model(self) -> type[FileBase]:
        """The plugin's class `File`, for sessions of the ORM."""
        return self.project.plugin.file_model

    def describe_filters(self) -> list[Filter]:
        """Every filter that `query_files` takes, with what it asks of which column."""
        known = catalogue.known_filters(self.file_model)
        return [one for name, one in known.items() if name == one.name]

    @overload
    def query_files(
        self,
        filters: Mapping[str, object] | None = None,
        columns: Sequence[str] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
        count_only: Literal[False] = False,
    ) -> list[Row]: ...

    @overload
    def query_files(
        self,
        filters: Mapping[str, object] | None = None,
        columns: Sequence[str] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
        *,
        count_only: Literal[True],
    ) -> int: ...

    def query_files(
        self,
        filters: Mapping[str, object] | None = None,
        columns: Sequence[str] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
        count_only: bool = False,
    ) -> list[Row] | int:
        """The groups that fit all filters, one dict each; with `count_only` how many, whatever the limit.

        What is not given is the plugin's default. `order_by` names a column,
        or several, each with a leading "-" for descending. Raises `QueryError`
        for a filter, column or value that is not known.
        """
        query = self._query(filters, columns, order_by, limit)
        with reading(self.project.engine) as connection:
            if count_only:
                return catalogue.count(connection, query)
            return list(catalogue.stream(connection, query))

    def iter_files(
        self,
        filters: Mapping[str, object] | None = None,
        columns: Sequence[str] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Row]:
        """As `query_files`, without ever holding all rows; what is wrong is raised at once."""
        return self._stream(self._query(filters, columns, order_by, limit))

    def get_new_files(
        self, cursor: str | None = None, watch_name: str | None = None, limit: int = 1000
    ) -> tuple[list[Row], str]:
        """What became complete after the cursor, in the order of commits, and the next cursor.

        None begins with the first group there ever was. Each row is a group as
        it is now, with the feed's `sequence` and its `event`: "completed",
        "replaced" when other bytes were delivered, "updated" when a late file
        joined it. Nothing is left out and nothing comes twice, if each call is
        given the cursor of the last one with the same `watch_name`. Raises
        `QueryError` for a cursor that is none, or is from another database.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise QueryError(f"limit: should be a whole number, 1 or more, not {limit!r}")
        with reading(self.project.engine) as connection:
            if watch_name is not None:
                self._require_watch(connection, watch_name)
            after = _after(cursor)
            if not isinstance(after, int):
                after = catalogue.feed_position(connection, *after)
            rows = catalogue.feed(connection, self.file_model, after, watch_name, limit)
            if not rows and after > (end := catalogue.feed_end(connection)):
                raise QueryError(
                    f'cursor "{cursor}" is ahead of the feed, which ends at {end}; '
                    "it is from another database, or this one was restored from an earlier copy"
                )
        return rows, f"feed:{rows[-1][catalogue.SEQUENCE] if rows else after}"

    def get_service_status(self) -> Row | None:
        """What the service last said of itself; None before anything ever ran.

        `running`; `started_at` of the service, or of the last pass if there never
        was one, else None; `last_heartbeat` of the running service, else of whoever
        looked last; `queue_depth` (groups that wait for a run), `workers_active`
        (runs that are at work), and `parts` by name.
        """
        return service_state(self.project)

    @contextmanager
    def session(self, *, read_only: bool = False) -> Iterator[Session]:
        """A session of the ORM over `FileComponent` and `file_model`; commit it yourself.

        A status set on a component is kept in the history as "by hand"; an
        unknown one is a `QueryError`. On SQLite a session keeps the service
        from writing, from its first statement until its transaction ends, so
        keep it short, or `read_only`.
        """
        with orm_session(self.project.engine, self.project.clock, read_only=read_only) as session:
            session.info["File"] = self.file_model
            yield session

    def _query(
        self,
        filters: Mapping[str, object] | None,
        columns: Sequence[str] | None,
        order_by: str | Sequence[str] | None,
        limit: int | None,
    ) -> FileQuery:
        defaults = self.project.plugin.query_defaults
        return catalogue.file_query(
            self.file_model,
            filters,
            defaults.columns if columns is None else columns,
            defaults.order_by if order_by is None else order_by,
            defaults.limit if limit is None else limit,
        )

    def _stream(self, query: FileQuery) -> Iterator[Row]:
        with reading(self.project.engine) as connection:
            yield from catalogue.stream(connection, query)

    def _require_watch(self, connection: Connection, name: str) -> None:
        known = [watch.name for watch in self.project.config.watch]
        # One that is configured no more still has what it delivered.
        if name not in known and not catalogue.has_groups(connection, name):
            raise QueryError(f'there is no watch "{name}"; known: {listing(known)}')


def connect(config: str | Path | None = None) -> Database:
    """The project whose config.toml that is; else $CARBONATION_CONFIG, else ./config.toml.

    Raises `ConfigError`, or `DatabaseError` saying what to run when the
    database is not initialised or of another release.
    """
    project = open_unchecked(config)
    require_database(project)
    return Database(project)


@overload
def query_files(
    config: str | Path | None = None,
    filters: Mapping[str, object] | None = None,
    columns: Sequence[str] | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
    count_only: Literal[False] = False,
) -> list[Row]: ...


@overload
def query_files(
    config: str | Path | None = None,
    filters: Mapping[str, object] | None = None,
    columns: Sequence[str] | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
    *,
    count_only: Literal[True],
) -> int: ...


def query_files(
    config: str | Path | None = None,
    filters: Mapping[str, object] | None = None,
    columns: Sequence[str] | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
    count_only: bool = False,
) -> list[Row] | int:
    """One question to a project; see `Database.query_files`."""
    with connect(config) as database:
        if count_only:
            return database.query_files(filters, columns, order_by, limit, count_only=True)
        return database.query_files(filters, columns, order_by, limit)


@contextmanager
def session(config: str | Path | None = None, *, read_only: bool = False) -> Iterator[Session]:
    """A session of the ORM; see `Database.session`. The plugin's class is `session.info["File"]`."""
    with connect(config) as database, database.session(read_only=read_only) as opened:
        yield opened


def _after(cursor: str | None) -> int | tuple[datetime, int]:
    """The sequence that a cursor stands for, or the time and group of an earlier release's."""
    if cursor is None:
        return 0
    if isinstance(cursor, str) and (ours := _CURSOR.fullmatch(cursor)):
        return int(ours[1])
    earlier = _EARLIER_CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
    try:
        at = datetime.fromisoformat(earlier[1]) if earlier else None
        if earlier and at is not None:
            aware = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
            return aware, int(earlier[2])
    except (ValueError, OverflowError):
        pass
    raise QueryError(f'cursor "{cursor}" is none that get_new_files gave')
