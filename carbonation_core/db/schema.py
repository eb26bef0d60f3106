"""Whether the tables are what release and plugin need, asked without Alembic.

To import Alembic takes as long as all else that a question to the database needs.
So the revisions are read here, as their files say what follows what; whoever
gets no for an answer asks `migrate`, which knows all that there is to say.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from sqlalchemy import Connection, Engine, String, column, inspect, select, table

from carbonation_core.db import sqlite
from carbonation_core.db.engine import reading
from carbonation_core.db.models import VERSION_TABLE, FileBase
from carbonation_core.errors import DatabaseError

VERSIONS = Path(__file__).parent / "migrations" / "versions"
TO_ADD = 'run: carbonation db revision --autogenerate -m "what is new", and then: carbonation db upgrade'
_FOLLOWS = ("down_revision", "depends_on")


def is_surely_current(engine: Engine, plugin_migrations: Path | None) -> bool:
    """Whether every revision is applied and no other, as far as that is easily told."""
    if engine.dialect.name == "sqlite" and not sqlite.is_there(Path(engine.url.database or "")):
        return False  # to connect would make it
    directories = [VERSIONS, *([plugin_migrations] if plugin_migrations else [])]
    try:
        known = _revisions(directories)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError):
        return False  # such as one that computes its name
    with reading(engine) as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return False
        version = column("version_num", String)
        reached = set(connection.execute(select(version).select_from(table(VERSION_TABLE))).scalars())
    waiting = list(reached & known.keys())
    while waiting:
        new = known[waiting.pop()] - reached
        reached |= new
        waiting += new & known.keys()
    return reached == known.keys()


def require_columns(engine: Engine, file_model: type[FileBase]) -> None:
    """Raise `DatabaseError`, saying what to run, if the model has anything that no revision has made."""
    with reading(engine) as connection:
        missing = missing_in(connection, file_model)
    if missing:
        where = engine.url.render_as_string(hide_password=True)
        raise DatabaseError(f"database {where}: {'; '.join(missing)}; {TO_ADD}")


def missing_in(connection: Connection, file_model: type[FileBase]) -> list[str]:
    """What the model has and the database has not, a sentence each."""
    inspector = inspect(connection)
    missing: list[str] = []
    for wanted in file_model.metadata.sorted_tables:
        if not inspector.has_table(wanted.name):
            missing.append(f'table "{wanted.name}" of the plugin is missing')
            continue
        there = {one["name"] for one in inspector.get_columns(wanted.name)}
        missing += [
            f'column "{one.name}" of the plugin is missing in "{wanted.name}"'
            for one in wanted.columns
            if one.name not in there
        ]
    return missing


def _revisions(directories: list[Path]) -> Mapping[str, set[str]]:
    """Each revision, and those that it follows or depends on, which may be named by a label."""
    labels: dict[str, str] = {}
    follows: dict[str, set[str]] = {}
    for directory in directories:
        for path in directory.glob("[!._]*.py"):
            said = _assigned(path)
            name = str(said["revision"])
            follows[name] = {one for key in _FOLLOWS for one in _names(said.get(key))}
            labels |= dict.fromkeys(_names(said.get("branch_labels")), name)
    return {name: {labels.get(one, one) for one in before} for name, before in follows.items()}


def _assigned(path: Path) -> dict[str, object]:
    """What a revision says of itself; raises `ValueError` when that is no plain value."""
    said: dict[str, object] = {}
    for node in ast.parse(path.read_bytes(), str(path)).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for one in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(one, ast.Name) and one.id in ("revision", "branch_labels", *_FOLLOWS):
                said[one.id] = ast.literal_eval(node.value)
    return said


def _names(said: object) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif said is not None:
        yield from said  # type: ignore[misc]  # anything else is a `TypeError`
