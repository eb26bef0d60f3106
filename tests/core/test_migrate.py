"""The schema: applied once, whoever asks how often, together with a plugin's columns."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.orm import Mapped

from carbonation_core.config import DatabaseSection
from carbonation_core.db.engine import make_engine, writing
from carbonation_core.db.migrate import VERSION_TABLE, drift, require_current, status, upgrade
from carbonation_core.db.models import Base, FileBase
from carbonation_core.errors import ConfigError, DatabaseError


class Plain(FileBase):
    """A model without columns of its own."""

    __tablename__ = "files"


class Typed(FileBase):
    """A model with one."""

    __tablename__ = "files"

    category: Mapped[str | None]


REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "typed_0001"
down_revision = None
branch_labels = ("typed",)
depends_on = ("core",)


def upgrade() -> None:
    op.add_column("files", sa.Column("category", sa.String(), nullable=True))
"""


def engine_at(directory: Path) -> Engine:
    return make_engine(DatabaseSection(name=str(directory / "c.db")))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = engine_at(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def plugin_migrations(tmp_path: Path) -> Path:
    directory = tmp_path / "versions"
    directory.mkdir()
    (directory / "typed_0001.py").write_text(REVISION)
    return directory


def test_an_upgrade_makes_every_table(engine: Engine) -> None:
    upgrade(engine, None)
    assert set(inspect(engine).get_table_names()) == {*Base.metadata.tables, VERSION_TABLE}
    assert status(engine, None).is_current


def test_an_upgrade_leaves_no_drift(engine: Engine) -> None:
    upgrade(engine, None)
    assert drift(engine, Plain) == []


def test_an_upgrade_says_what_was_pending(engine: Engine) -> None:
    assert upgrade(engine, None).pending[0] == "core_0001"
    assert upgrade(engine, None).pending == ()


def test_the_plugin_moves_with_the_core(engine: Engine, plugin_migrations: Path) -> None:
    assert "typed_0001" in upgrade(engine, plugin_migrations).pending
    assert drift(engine, Typed) == []


def test_a_plugin_may_come_later(engine: Engine, plugin_migrations: Path) -> None:
    upgrade(engine, None)
    assert status(engine, plugin_migrations).pending == ("typed_0001",)
    upgrade(engine, plugin_migrations)
    assert drift(engine, Typed) == []


def test_a_missing_column_of_the_plugin_is_drift(engine: Engine) -> None:
    upgrade(engine, None)
    assert drift(engine, Typed) == ['column "category" of the plugin is missing in "files"']


def test_a_column_of_no_model_is_drift(engine: Engine, plugin_migrations: Path) -> None:
    upgrade(engine, plugin_migrations)
    assert drift(engine, Plain) == ['column "category" in "files" belongs to no model']


def test_two_upgrades_at_once_do_it_once(tmp_path: Path) -> None:
    def one_more(_: int) -> tuple[str, ...]:
        engine = engine_at(tmp_path)
        try:
            return upgrade(engine, None).pending
        finally:
            engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        pending = list(pool.map(one_more, range(4)))
    assert sum(bool(revisions) for revisions in pending) == 1


def test_a_database_without_tables_says_what_to_run(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(DatabaseError) as raised:
        require_current(engine, None)
    assert (
        str(raised.value)
        == f"database sqlite:///{tmp_path}/c.db is not initialised; run: carbonation db init"
    )


def test_an_older_database_says_what_to_run(engine: Engine, plugin_migrations: Path, tmp_path: Path) -> None:
    upgrade(engine, None)
    with pytest.raises(DatabaseError) as raised:
        require_current(engine, plugin_migrations)
    assert str(raised.value) == (
        f"database sqlite:///{tmp_path}/c.db is older than this release "
        "(pending: typed_0001); run: carbonation db upgrade"
    )


def test_a_newer_database_is_left_alone(engine: Engine, plugin_migrations: Path) -> None:
    upgrade(engine, plugin_migrations)
    with pytest.raises(DatabaseError, match="has revisions that this release and its plugin do not know"):
        upgrade(engine, None)
    with pytest.raises(DatabaseError, match=r"typed_0001.*; install the release or plugin that made them"):
        require_current(engine, None)


def test_tables_of_others_are_left_alone(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('of-dagster')"))
    upgrade(engine, None)
    assert drift(engine, Plain) == []
    assert status(engine, None).is_current


def test_a_failed_revision_leaves_the_schema_as_it_was(engine: Engine, plugin_migrations: Path) -> None:
    upgrade(engine, None)
    (plugin_migrations / "typed_0001.py").write_text(REVISION + "    raise RuntimeError('no')\n")
    with pytest.raises(RuntimeError, match="no"):
        upgrade(engine, plugin_migrations)
    assert status(engine, plugin_migrations).pending == ("typed_0001",)
    assert drift(engine, Plain) == []


@pytest.mark.parametrize(
    ("drivername", "module", "extra"),
    [
        ("postgresql", "psycopg2", "postgresql"),
        ("postgresql+psycopg2", "psycopg2", "postgresql"),
        ("mysql", "MySQLdb", "mariadb"),
        ("mariadb+mysqldb", "MySQLdb", "mariadb"),
        ("mysql+pymysql", "pymysql", "pymysql"),
        ("mariadb+pymysql", "pymysql", "pymysql"),
    ],
)
def test_a_driver_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, drivername: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError) as raised:
        make_engine(DatabaseSection.model_validate({"drivername": drivername}))
    assert str(raised.value).endswith(f'is not installed; run: pip install "carbonation-dagster[{extra}]"')
    assert '[database]: key "drivername": the driver of' in str(raised.value)
