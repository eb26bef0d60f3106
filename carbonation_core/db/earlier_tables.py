"""The database of carbonation 0.0.x. It is read in pages, and never written."""

import functools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Connection,
    String,
    Text,
    column,
    create_engine,
    event,
    func,
    inspect,
    select,
    table,
)

from carbonation_core.config.secrets import settings
from carbonation_core.config.sections import DatabaseSection
from carbonation_core.config.toml import parse, parse_toml, place, read_toml
from carbonation_core.db.column_types import UtcDateTime
from carbonation_core.db.columns import jsonable
from carbonation_core.db.engine import PAGE, Engine, chunks, make_engine, reading
from carbonation_core.db.models import VERSION_TABLE
from carbonation_core.errors import ConfigError, DatabaseError

_KEYS = tuple(name for name in DatabaseSection.model_fields)
_READ_ONLY = MappingProxyType(
    {
        "postgresql": "SET default_transaction_read_only = on",
        "mysql": "SET SESSION TRANSACTION READ ONLY",
        "mariadb": "SET SESSION TRANSACTION READ ONLY",
    }
)
_GROUPS: Mapping[str, Any] = MappingProxyType(
    {
        "id": BigInteger(),
        "watch_name": String(),
        "file_type": String(),
        "group_key": String(),
        "complete": Boolean(),
        "archive_path": Text(),
        "metadata": JSON(),
        "created_at": UtcDateTime(),
        "completed_at": UtcDateTime(),
        "modified_at": UtcDateTime(),
        "retention_date": UtcDateTime(),
    }
)
_FILES: Mapping[str, Any] = MappingProxyType(
    {
        "id": BigInteger(),
        "watch_name": String(),
        "filename": String(),
        "source_path": Text(),
        "archive_path": Text(),
        "size_bytes": BigInteger(),
        "status": String(),
        "in_delivery": Boolean(),
        "in_archive": Boolean(),
        "group_id": BigInteger(),
        "error_message": Text(),
        "retry_count": BigInteger(),
        "detected_at": UtcDateTime(),
        "archived_at": UtcDateTime(),
        "cleared_at": UtcDateTime(),
    }
)
_files = table("file_components", *(column(name, kind) for name, kind in _FILES.items()))
_groups = table("files", *(column(name, kind) for name, kind in _GROUPS.items()))


class EarlierFile(NamedTuple):
    """A row of `file_components`. `watch_name` is None of what was only ever found in an archive."""

    id: int
    watch_name: str | None
    filename: str
    source_path: str
    archive_path: str | None
    size_bytes: int | None
    status: str
    in_delivery: bool
    in_archive: bool
    group_id: int | None
    error_message: str | None
    retry_count: int
    detected_at: datetime
    archived_at: datetime | None
    cleared_at: datetime | None


@dataclass(frozen=True)
class EarlierGroup:
    """A row of `files`; `values` are those of the plugin's columns."""

    id: int
    watch_name: str
    file_type: str | None
    group_key: str
    complete: bool
    archive_path: str | None
    metadata: dict[str, Any] | None
    created_at: datetime
    completed_at: datetime | None
    modified_at: datetime | None
    retention_date: datetime | None
    values: Mapping[str, Any] = field(default_factory=dict)


def open_earlier(config_file: Path) -> Engine:
    """The database of that config.toml, for reading only; of the file no other table is looked at.

    Raises `ConfigError`, or `DatabaseError` if it is not one of carbonation 0.0.x.
    """
    given = parse_toml(read_toml(config_file), str(config_file)).get("database", {})
    if not isinstance(given, dict):
        raise ConfigError(f"{place(config_file, '[database]')}: should be a table")
    # Of keys that were never read there may be any number.
    known = {key: value for key, value in given.items() if key in _KEYS}
    section = parse(
        DatabaseSection, settings("database", known, DatabaseSection), str(config_file), "database"
    )
    if section.drivername == "sqlite":
        file = config_file.resolve().parent / section.name
        engine = create_engine(f"sqlite:///{file}", creator=functools.partial(_connect, file))
    else:
        engine = make_engine(section, jsonable, config_file)
        event.listen(engine, "connect", functools.partial(_only_read, _READ_ONLY[engine.dialect.name]))
    _require_earlier(engine)
    return engine


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, check_same_thread=False)


def _only_read(statement: str, connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(statement)
    cursor.close()
    connection.commit()


def _require_earlier(engine: Engine) -> None:
    with reading(engine) as connection:
        there = set(inspect(connection).get_table_names())
    where = engine.url.render_as_string(hide_password=True)
    if VERSION_TABLE in there:
        raise DatabaseError(f"database {where} is one of this release; name the config.toml of the earlier")
    if not {"files", "file_components"} <= there:
        raise DatabaseError(f"database {where} is none of carbonation 0.0.x: it has no such tables")


def columns_of_plugin(engine: Engine) -> set[str]:
    """The columns that the earlier plugin had added to `files`."""
    with reading(engine) as connection:
        return {one["name"] for one in inspect(connection).get_columns("files")} - _GROUPS.keys()


def counts(engine: Engine) -> tuple[int, int, int]:
    """How many groups and how many files there are, and the highest id of a group."""
    with reading(engine) as connection:
        number, highest = connection.execute(
            select(func.count(), func.coalesce(func.max(_groups.c.id), 0))
        ).one()
        return number, connection.execute(select(func.count()).select_from(_files)).scalar_one(), highest


def watch_names(engine: Engine) -> set[str]:
    """The watches of which anything is known."""
    with reading(engine) as connection:
        found = connection.execute(select(_files.c.watch_name).distinct()).scalars()
        return {name for name in found if name is not None}


def groups(
    engine: Engine, columns: Mapping[str, Any]
) -> Iterator[list[tuple[EarlierGroup, list[EarlierFile]]]]:
    """All groups with their files, in pages by id; `columns`: types of the plugin's, by name."""
    own = [column(name, kind) for name, kind in columns.items()]
    of_files = table("files", *(column(name, kind) for name, kind in _GROUPS.items()), *own)
    last = 0
    while True:
        query = select(of_files).where(of_files.c.id > last).order_by(of_files.c.id).limit(PAGE)
        with reading(engine) as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            files = _files_of(connection, [row["id"] for row in rows])
        if not rows:
            return
        last = rows[-1]["id"]
        yield [(_group(row, columns), files[row["id"]]) for row in rows]


def files_alone(engine: Engine) -> Iterator[list[EarlierFile]]:
    """All files without a group, in pages by id."""
    last = 0
    while True:
        query = select(_files).where(_files.c.group_id.is_(None), _files.c.id > last)
        with reading(engine) as connection:
            rows = connection.execute(query.order_by(_files.c.id).limit(PAGE)).all()
        if not rows:
            return
        last = rows[-1].id
        yield list(map(_file, rows))


def sharing(engine: Engine) -> dict[str, list[EarlierFile]]:
    """Archive paths that more than one archived file has, with those files."""
    several = (
        select(_files.c.archive_path)
        .where(_files.c.in_archive, _files.c.archive_path.is_not(None))
        .group_by(_files.c.archive_path)
        .having(func.count() > 1)
    )
    found: dict[str, list[EarlierFile]] = {}
    with reading(engine) as connection:
        paths = list(connection.execute(several).scalars())
        for chunk in chunks(paths):
            query = select(_files).where(_files.c.in_archive, _files.c.archive_path.in_(chunk))
            for row in connection.execute(query):
                found.setdefault(row.archive_path, []).append(_file(row))
    return found


def _files_of(connection: Connection, group_ids: Sequence[int]) -> dict[int, list[EarlierFile]]:
    found: dict[int, list[EarlierFile]] = {group_id: [] for group_id in group_ids}
    for chunk in chunks(group_ids):
        for row in connection.execute(
            select(_files).where(_files.c.group_id.in_(chunk)).order_by(_files.c.id)
        ):
            found[row.group_id].append(_file(row))
    return found


def _file(row: Iterable[Any]) -> EarlierFile:
    return EarlierFile._make(row)


def _group(row: dict[str, Any], columns: Mapping[str, Any]) -> EarlierGroup:
    values = {name: row.pop(name) for name in columns}
    return EarlierGroup(**row, values=values)
