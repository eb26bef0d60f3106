"""The front door for programs: questions about the groups, the feed, and sessions of the ORM."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

from sqlalchemy.orm import Session

from carbonation_core import feed
from carbonation_core.db import catalog, queries
from carbonation_core.db.consumers import Lag
from carbonation_core.db.engine import reading
from carbonation_core.db.filters import Filter
from carbonation_core.db.models import FileBase
from carbonation_core.db.orm import orm_session
from carbonation_core.db.queries import Query
from carbonation_core.project import Project, open_unchecked, require_database
from carbonation_core.reports import component_list
from carbonation_core.reports.arrivals import board
from carbonation_core.reports.status import service_state

Row = dict[str, Any]


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
        known = catalog.known_filters(self.file_model)
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

    @overload
    def query_files(
        self,
        filters: Mapping[str, object] | None = None,
        columns: Sequence[str] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
        count_only: bool = False,
    ) -> list[Row] | int: ...

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
                return queries.count(connection, query)
            return list(queries.stream(connection, query))

    def iter_files(
        self,
        filters: Mapping[str, object] | None = None,
        columns: Sequence[str] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Row]:
        """As `query_files`, without ever holding all rows; what is wrong is raised at once."""
        return self._stream(self._query(filters, columns, order_by, limit))

    @overload
    def query_components(
        self,
        filters: Mapping[str, object] | None = None,
        columns: Sequence[str] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
        count_only: Literal[False] = False,
    ) -> list[Row]: ...

    @overload
    def query_components(
        self,
        filters: Mapping[str, object] | None = None,
        columns: Sequence[str] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
        *,
        count_only: Literal[True],
    ) -> int: ...

    def query_components(
        self,
        filters: Mapping[str, object] | None = None,
        columns: Sequence[str] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
        count_only: bool = False,
    ) -> list[Row] | int:
        """The delivered files that fit all filters, one dict each; with `count_only` how many.

        Such as `{"status": ["failed", "retry_pending"], "reason": "%sha256%"}`:
        filters are as for `query_files`, on the columns that a row has.
        `waits_for`, a sentence without its subject, and `waits_until` are told
        of what goes on by itself; they cannot be asked for nor sorted by.
        `since` is when it came to its status. Raises `QueryError`.
        """
        if count_only:
            query = catalog.component_query(filters)
            with reading(self.project.engine) as connection:
                return queries.count(connection, query)
        return list(self.iter_components(filters, columns, order_by, limit))

    def iter_components(
        self,
        filters: Mapping[str, object] | None = None,
        columns: Sequence[str] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Row]:
        """As `query_components`, without ever holding all rows; what is wrong is raised at once."""
        return component_list.components(self.project, filters, columns, order_by, limit)

    def get_new_files(
        self,
        cursor: str | None = None,
        watch_name: str | None = None,
        limit: int = 1000,
        *,
        events: bool = False,
    ) -> tuple[list[Row], str]:
        """What became of groups after the cursor, in the order of commits, and the next cursor.

        None begins with the first group there ever was. Each row is a group as
        it is now, with the feed's `sequence` and its `event`: "completed",
        "replaced" when other bytes were delivered, "updated" when a late file
        joined it; with `events` also "retracted" when its archived files are
        gone, and of what is expected "late", "missed" and "arrived" with its time as
        `expected_at`; where no group came, all else but watch and expected key is
        None. Nothing is left out and nothing comes twice, if each call is given
        the cursor of the last one with the same `watch_name`. Raises
        `QueryError` for a cursor that is none, or is from another database.
        """
        return feed.new_files(self.project, cursor, watch_name, limit, events=events)

    def ack(self, consumer: str, cursor: str, watch_name: str | None = None) -> None:
        """Keep that a consumer has dealt with all that comes before the cursor.

        The first time makes the consumer known by its name; `watch_name` says
        that it takes the feed of that watch alone. The same cursor again changes
        nothing. Raises `QueryError` for one that is behind what the consumer has
        acknowledged already, or ahead of the feed, and for another `watch_name`
        than before; `DatabaseError` where the database can only be read.
        """
        feed.ack(self.project, consumer, cursor, watch_name)

    def acked(self, consumer: str) -> str | None:
        """The cursor that a consumer has acknowledged last, to go on with; None before its first time."""
        return feed.acked(self.project, consumer)

    def lag(self, consumer: str) -> Lag:
        """How far a consumer is behind, and since when; raises `QueryError` if there is none of that name."""
        return feed.lag(self.project, consumer)

    def forget(self, consumer: str) -> None:
        """Remove a consumer that takes the feed no more; raises `QueryError` if there is none."""
        feed.forget(self.project, consumer)

    def arrivals(
        self,
        watch_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        states: Collection[str] = (),
    ) -> list[Row]:
        """What was expected, and what came, by watch, expectation and time; one dict each.

        `since` is 30 days ago unless given. Keys are those of
        `carbonation_core.reports.arrivals.Arrival`: `state` is its text, `delay` seconds.
        Raises `QueryError` for a watch or a state that is not known.
        """
        found = board(self.project, watch_name, since, until, states)
        return [
            asdict(one)
            | {
                "state": str(one.state),
                "delay": None if one.delay is None else one.delay.total_seconds(),
            }
            for one in found
        ]

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
    ) -> Query:
        defaults = self.project.plugin.query_defaults
        return catalog.file_query(
            self.file_model,
            filters,
            defaults.columns if columns is None else columns,
            defaults.order_by if order_by is None else order_by,
            defaults.limit if limit is None else limit,
        )

    def _stream(self, query: Query) -> Iterator[Row]:
        with reading(self.project.engine) as connection:
            yield from queries.stream(connection, query)


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


@overload
def query_files(
    config: str | Path | None = None,
    filters: Mapping[str, object] | None = None,
    columns: Sequence[str] | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
    count_only: bool = False,
) -> list[Row] | int: ...


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
        return database.query_files(filters, columns, order_by, limit, count_only)


@contextmanager
def session(config: str | Path | None = None, *, read_only: bool = False) -> Iterator[Session]:
    """A session of the ORM; see `Database.session`. The plugin's class is `session.info["File"]`."""
    with connect(config) as database, database.session(read_only=read_only) as opened:
        yield opened
