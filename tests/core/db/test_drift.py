"""How the tables differ from what the models say, and what to run then."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Engine,
    Enum,
    Integer,
    Numeric,
    String,
    Table,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import CreateColumn

from carbonation_core.db.engine import writing
from carbonation_core.db.migrate import (
    drift,
    upgrade,
)
from carbonation_core.db.models import FileBase
from carbonation_core.db.schema import require_columns
from carbonation_core.errors import DatabaseError
from carbonation_core.plugin import Plugin, own_columns
from tests.core._helpers.migrating import Plain, Typed, where


def test_a_missing_column_of_the_plugin_is_drift(engine: Engine) -> None:
    upgrade(engine, None)
    assert drift(engine, Typed) == ['column "category" of the plugin is missing in "files"']


def test_a_missing_column_of_the_plugin_says_what_to_run(engine: Engine) -> None:
    upgrade(engine, None)
    require_columns(engine, Plain)
    with pytest.raises(DatabaseError) as raised:
        require_columns(engine, Typed)
    assert str(raised.value) == (
        f'database {where(engine)}: column "category" of the plugin is missing in "files"; run: '
        'carbonation db revision --autogenerate -m "what is new", and then: carbonation db upgrade'
    )


def test_a_missing_table_of_the_plugin_says_so(engine: Engine) -> None:
    class Tagged(FileBase):
        __tablename__ = "files"

    Table("tags", Tagged.metadata, Column("id", Integer, primary_key=True), Column("name", Text))
    upgrade(engine, None)
    with pytest.raises(DatabaseError, match='table "tags" of the plugin is missing; run: carbonation db rev'):
        require_columns(engine, Tagged)


def test_a_column_of_another_type_than_the_model_says_is_drift(
    engine: Engine, plugin_migrations: Path
) -> None:
    class Counted(FileBase):
        __tablename__ = "files"
        category: Mapped[int | None]

    upgrade(engine, plugin_migrations)
    assert drift(engine, Counted) == [
        'column "category" of the plugin is TEXT in "files", and BIGINT in the model'
    ]


def test_columns_of_every_type_that_a_plugin_may_have_are_no_drift(engine: Engine, tmp_path: Path) -> None:
    class Rich(FileBase):
        __tablename__ = "files"
        text: Mapped[str | None]
        number: Mapped[int | None]
        real: Mapped[float | None]
        flag: Mapped[bool | None]
        at: Mapped[datetime | None]
        more: Mapped[dict[str, Any] | None]
        exact: Mapped[Decimal | None] = mapped_column(Numeric(12, 3))
        short: Mapped[str | None] = mapped_column(String(30))
        plain: Mapped[datetime | None] = mapped_column(DateTime)
        day: Mapped[date | None]
        word: Mapped[str | None] = mapped_column(Enum("a", "b", name="word"))
        unique: Mapped[UUID | None]
        long: Mapped[timedelta | None]

    upgrade(engine, None)
    with writing(engine) as connection:
        for column in own_columns(Plugin(Rich)):
            if isinstance(column.type, Enum):
                column.type.create(connection)
            definition = CreateColumn(column).compile(dialect=engine.dialect)
            connection.exec_driver_sql(f"ALTER TABLE files ADD COLUMN {definition}")
    assert drift(engine, Rich) == []


def test_a_column_of_no_model_is_drift(engine: Engine, plugin_migrations: Path) -> None:
    upgrade(engine, plugin_migrations)
    assert drift(engine, Plain) == ['column "category" in "files" belongs to no model']
