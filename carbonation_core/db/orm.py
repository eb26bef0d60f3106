"""Sessions of the ORM for people's own scripts. A status they set is kept as history like any other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Update, event, insert, inspect, select
from sqlalchemy.orm import ORMExecuteState, Session

from carbonation_core.db import tallies
from carbonation_core.db.engine import explained
from carbonation_core.db.engine import read_only as only_reading
from carbonation_core.db.models import FileComponent, GroupColumns, StatusChange
from carbonation_core.errors import QueryError
from carbonation_core.lifecycle import FileStatus
from carbonation_core.text import listing

BY_HAND = "by hand"  # in the history, where other changes name their event


@contextmanager
def orm_session(engine: Engine, clock: Callable[[], datetime], *, read_only: bool) -> Iterator[Session]:
    """A session that is rolled back at its end, unless it was committed.

    A status that was set on a `FileComponent` goes into the history as it is
    flushed; one that is unknown is refused with `QueryError`, as is a bulk
    update of statuses, and everything that writes when `read_only`.
    """
    bind = engine.execution_options(**only_reading(engine)) if read_only else engine
    with explained(engine), Session(bind) as session:
        if read_only:
            event.listen(session, "before_flush", _refuse_flush)
            event.listen(session, "do_orm_execute", _refuse_statement)
        else:
            _Historian(clock).listen(session)
        yield session


class _Historian:
    """Keeps the history of statuses that a session sets."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._set: list[tuple[FileComponent, str | None]] = []  # and the status before
        self._touched: set[str] = set()  # watches in which there may be more or less of something

    def listen(self, session: Session) -> None:
        event.listen(session, "before_flush", self._check)
        event.listen(session, "after_flush", self._record)
        event.listen(session, "do_orm_execute", self._note)
        event.listen(session, "before_commit", self._count)

    def _note(self, state: ORMExecuteState) -> None:
        _refuse_bulk(state)
        if not state.is_select:
            self._touched |= tallies.watch_names(state.session.connection())

    def _count(self, session: Session) -> None:
        session.flush()
        if self._touched:
            tallies.recount(session.connection(), self._touched)
            self._touched.clear()

    def _check(self, session: Session, _context: object, _objects: object) -> None:
        changed = (*session.new, *filter(session.is_modified, session.dirty), *session.deleted)
        self._touched |= {one.watch_name for one in changed if isinstance(one, FileComponent | GroupColumns)}
        self._set = [(one, None) for one in session.new if isinstance(one, FileComponent)]
        for one in session.dirty:
            if isinstance(one, FileComponent) and inspect(one).attrs.status.history.has_changes():
                # What the database says, as the object may never have read it.
                query = select(FileComponent.status).where(FileComponent.id == one.id)
                before = session.connection().execute(query).scalar()
                if before != one.status:
                    self._set.append((one, before))
        for component, _ in self._set:
            if component.status not in tuple(FileStatus):
                raise QueryError(f'there is no status "{component.status}"; known: {listing(FileStatus)}')
            component.status_since = self._clock()

    def _record(self, session: Session, _context: object) -> None:
        rows: list[dict[str, Any]] = [
            {
                "component_id": component.id,
                "at": self._clock(),
                "from_status": before,
                "to_status": component.status,
                "event": BY_HAND,
            }
            for component, before in self._set
        ]
        if rows:
            session.connection().execute(insert(StatusChange), rows)


def _refuse_bulk(state: ORMExecuteState) -> None:
    statement, mapper = state.statement, state.bind_mapper
    if not isinstance(statement, Update) or mapper is None or mapper.class_ is not FileComponent:
        return
    rows = state.parameters if isinstance(state.parameters, list) else [state.parameters or {}]
    names = {str(name) for row in rows for name in row}
    names |= set(statement.compile().params)
    if "status" in names:
        raise QueryError("a status is set on each FileComponent, not by an update, so that history is kept")


def _refuse_statement(state: ORMExecuteState) -> None:
    if not state.is_select:
        raise QueryError("this session is read_only; it takes no statement that writes")


def _refuse_flush(session: Session, _context: object, _objects: object) -> None:
    if session.new or session.deleted or any(map(session.is_modified, session.dirty)):
        raise QueryError("this session is read_only; what it holds cannot be written")
