"""Databases of any revision, and a plugin with one of its own."""

from datetime import UTC, datetime
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.orm import Mapped

from carbonation_core.db.engine import reading, writing
from carbonation_core.db.migrate import alembic_config
from carbonation_core.db.models import FileBase
from carbonation_core.db.schema import VERSION_TABLE

REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "typed_0001"
down_revision = None
branch_labels = ("typed",)
depends_on = ("core",)


def upgrade() -> None:
    op.add_column("files", sa.Column("category", sa.Text(), nullable=True))
"""


CORE = [revision.revision for revision in ScriptDirectory.from_config(alembic_config(None)).walk_revisions()]


class Plain(FileBase):
    """A model without columns of its own."""

    __tablename__ = "files"


class Typed(FileBase):
    """A model with one."""

    __tablename__ = "files"

    category: Mapped[str | None]


def where(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


def fill(engine: Engine) -> dict[str, int]:
    """A row in every table, whatever it looks like by now; how many there are in each."""
    tables = MetaData()
    found = {}
    with writing(engine) as connection:
        tables.reflect(connection)
        for table in tables.sorted_tables:
            if table.name not in (VERSION_TABLE, "counters"):
                row = {column.name: value_for(column) for column in table.columns}
                connection.execute(insert(table).values(row))
            found[table.name] = connection.execute(select(func.count()).select_from(table)).scalar_one()
    return found


def value_for(column: Column[Any]) -> object:
    if column.name == "status":
        return "archived"
    if column.name in ("metadata", "details", "lists"):
        return {} if isinstance(column.type, JSON) else "{}"
    if isinstance(column.type, DateTime):
        return datetime(2026, 1, 1, tzinfo=UTC)
    if isinstance(column.type, Boolean):
        return True
    return 1 if isinstance(column.type, Integer) else "x"


def rows(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        return {
            name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in inspect(connection).get_table_names()
        }
