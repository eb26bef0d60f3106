"""Copies all that a database remembers into an empty one, of whichever kind; the service goes on there."""

from collections.abc import Mapping
from dataclasses import dataclass

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db import migrate, service, tables
from carbonation_core.db.columns import jsonable
from carbonation_core.db.engine import (
    Connection,
    Engine,
    make_engine,
    make_file,
    objection,
    reading,
    repeatable,
    writing,
)
from carbonation_core.db.schema import require_columns
from carbonation_core.errors import DatabaseError
from carbonation_core.project import Progress, Project
from carbonation_core.text import counted, listing


@dataclass(frozen=True)
class Copied:
    """What was copied: rows by table. `where` is the new database, without its password."""

    where: str
    rows: Mapping[str, int]


@repeatable
def copy_database(project: Project, to: DatabaseSection, progress: Progress) -> Copied:
    """Copy all rows of all tables, in one transaction that reads and one that writes.

    Ids, tokens of the feed and cursors stay as they are. Raises `DatabaseError`
    when somebody works with the one, when the other has rows, when the one has
    changed meanwhile, and when the two do not agree at the end; nothing is
    copied then, and it may be begun again.
    """
    engine = make_engine(to, jsonable)
    try:
        _require_other(project.engine, engine)
        _require_rest(project)
        make_file(engine)
        _require_empty(project, engine)
        migrate.begin_copy(engine, project.plugin.migrations_path)
        require_columns(engine, project.plugin.file_model)
        with reading(project.engine) as source, writing(engine) as target:
            return Copied(_where(engine), _copy(project, source, target, progress))
    finally:
        engine.dispose()


def _copy(project: Project, source: Connection, target: Connection, progress: Progress) -> dict[str, int]:
    model = project.plugin.file_model
    if unknown := tables.without_model(source, model):
        raise DatabaseError(
            f"no model has these columns, so that their values would be lost: {listing(unknown)}; have the "
            "plugin's model name them, or drop them by a revision"
        )
    tables.clear_counters(target)
    numbers = tables.counts(source, model)
    for table in tables.in_order(target, model):
        done = 0
        for page in tables.pages(source, table):
            try:
                tables.store(target, table, page)
            except Exception as error:
                if words := objection(error):
                    raise DatabaseError(_refused(target, table.name, words)) from error
                raise
            done += len(page)
            progress(table.name, done, numbers[table.name])
        tables.number_on(target, table)
    _require_agreement(project, source, target)
    migrate.end_copy(target)
    return numbers


def _require_agreement(project: Project, source: Connection, target: Connection) -> None:
    """Raise `DatabaseError` unless the one that is copied still has just what the copy has."""
    model = project.plugin.file_model
    _require_rest(project)
    with reading(project.engine) as now:
        # Row by row, as a program that acknowledges changes one that is there.
        if changed := tables.changed(model, source, now):
            raise DatabaseError(
                f"somebody wrote to database {_where(project.engine)} while it was copied (changed: "
                f"{', '.join(changed)}); nothing is copied: stop whoever it is, also programs that "
                "acknowledge what they took from the feed, and begin again"
            )
        if tables.counts(now, model) != tables.counts(target, model) or not tables.feeds_agree(now, target):
            raise DatabaseError("the copy has other rows, or another feed; nothing is copied")


def _require_other(engine: Engine, other: Engine) -> None:
    if engine.url == other.url:
        raise DatabaseError(f"database {_where(engine)} is the one that config.toml names; name another")


def _require_empty(project: Project, engine: Engine) -> None:
    # Whatever it is: not even the mark of an unfinished copy is for a database that somebody uses.
    with reading(engine) as connection:
        there = tables.has_rows(tables.counts(connection, project.plugin.file_model))
    if there:
        rows = ", ".join(f"{name} {number}" for name, number in there.items())
        raise DatabaseError(f"database {_where(engine)} has rows already ({rows}); name an empty one")


def _require_rest(project: Project) -> None:
    with reading(project.engine) as connection:
        working = service.at_work(connection, project.clock())
    if working:
        whose = (f"a {one.part} on host {one.host} (pid {one.details.get('pid')})" for one in working)
        raise DatabaseError(
            f"there is {', '.join(whose)} at work: what it writes would be missing in the copy; "
            f"stop {'it' if len(working) == 1 else counted(len(working), 'process')} first"
        )


def _refused(target: Connection, table: str, words: str) -> str:
    return f"database {_where(target.engine)} does not take a row of {table}: {words}; nothing is copied"


def _where(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
