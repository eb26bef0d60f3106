"""The schema: applied once, whoever asks how often, together with a plugin's columns."""

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Engine,
    Enum,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import CreateColumn

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db import locks
from carbonation_core.db.engine import make_engine, make_file, reading, repeatable, writing
from carbonation_core.db.migrate import (
    alembic_config,
    drift,
    require_current,
    status,
    upgrade,
)
from carbonation_core.db.models import Base, Counter, FeedEntry, FileBase, FileComponent
from carbonation_core.db.revisions import new_revision
from carbonation_core.db.schema import VERSION_TABLE, require_columns
from carbonation_core.errors import ConfigError, DatabaseError
from carbonation_core.plugin import Plugin, own_columns
from tests import databases


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
    op.add_column("files", sa.Column("category", sa.Text(), nullable=True))
"""


CORE = [revision.revision for revision in ScriptDirectory.from_config(alembic_config(None)).walk_revisions()]


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


@pytest.fixture
def section(on_each_database: None, tmp_path: Path) -> DatabaseSection:
    """An empty database."""
    return databases.fresh(tmp_path)


@pytest.fixture
def engine(section: DatabaseSection) -> Iterator[Engine]:
    engine = make_engine(section)
    make_file(engine)
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


def test_two_upgrades_at_once_do_it_once(section: DatabaseSection) -> None:
    def one_more(_: int) -> tuple[str, ...]:
        engine = make_engine(section)
        try:
            return upgrade(engine, None).pending
        finally:
            engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        pending = list(pool.map(one_more, range(4)))
    assert sum(bool(revisions) for revisions in pending) == 1


def test_a_database_without_tables_says_what_to_run(engine: Engine) -> None:
    with pytest.raises(DatabaseError) as raised:
        require_current(engine, None)
    assert str(raised.value) == f"database {where(engine)} is not initialised; run: carbonation db init"


def test_an_older_database_says_what_to_run(engine: Engine, plugin_migrations: Path) -> None:
    upgrade(engine, None)
    with pytest.raises(DatabaseError) as raised:
        require_current(engine, plugin_migrations)
    assert str(raised.value) == (
        f"database {where(engine)} is older than this release "
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
    if engine.dialect.name == "mariadb":
        with pytest.raises(DatabaseError, match="takes names for equal whose bytes differ") as raised:
            upgrade(engine, None)
        with writing(engine) as connection:
            connection.execute(text(str(raised.value).partition("run in it: ")[2]))
    upgrade(engine, None)
    assert drift(engine, Plain) == []
    assert status(engine, None).is_current


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (("files",), 'another program, under names that ours have: "files"; name an empty one'),
        (("feed", "batches"), 'another program, under names that ours have: "batches", "feed"'),
        (
            ("files", "file_components", "service_state", "alembic_version"),
            'an earlier release: "file_components", "files", "service_state"; name an empty one in '
            r"config.toml, \[database\], and run: carbonation db init",
        ),
    ],
)
def test_a_table_of_others_under_a_name_of_ours_is_a_sentence(
    engine: Engine, tables: tuple[str, ...], said: str
) -> None:
    with writing(engine) as connection:
        for name in tables:
            connection.execute(text(f"CREATE TABLE {name} (id INTEGER)"))
    for asked in (upgrade, status, require_current):
        with pytest.raises(DatabaseError, match=f"has tables of {said}"):
            asked(engine, None)
    assert set(inspect(engine).get_table_names()) == set(tables)


def test_a_view_of_others_under_a_name_of_ours_is_a_sentence(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("CREATE VIEW files AS SELECT 1 AS id"))
    with pytest.raises(DatabaseError, match='of another program, under names that ours have: "files"'):
        require_current(engine, None)


@databases.of_sqlite
def test_a_file_that_is_no_database_is_a_sentence(section: DatabaseSection, engine: Engine) -> None:
    Path(section.name).write_text("a text that somebody has put here\n" * 100)
    for asked in (upgrade, status, require_current):
        with pytest.raises(DatabaseError, match=r"carbonation\.db: file is not a database"):
            asked(engine, None)


@pytest.mark.parametrize("name", ["100%", "50%20off", "%(here)s", "a%%b"])
def test_revisions_are_found_whatever_their_directory_is_called(
    engine: Engine, plugin_migrations: Path, name: str
) -> None:
    directory = plugin_migrations.with_name(name)
    plugin_migrations.rename(directory)
    assert "typed_0001" in upgrade(engine, directory).pending
    made = new_revision(engine, directory, Typed, "by hand", autogenerate=False)
    assert made is not None
    assert made.parent == directory
    assert status(engine, directory).pending == ("typed_0002",)


@databases.one
@pytest.mark.filterwarnings("ignore:Revision typed_0000 referenced")
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            REVISION.replace('("core",)', '("001",)'),
            'FOLDER: a revision follows, or depends on, "001", which there is not',
        ),
        (
            REVISION.replace("down_revision = None", 'down_revision = "typed_0000"'),
            'FOLDER: a revision follows, or depends on, "typed_0000", which there is not',
        ),
        (REVISION + "def (", "FOLDER: SyntaxError: invalid syntax (typed_0001.py, line 13)"),
        (REVISION + "1 / 0\n", "FOLDER: ZeroDivisionError: division by zero (typed_0001.py, line 13)"),
        ("import nothing_like_it\n", "FOLDER: ModuleNotFoundError: No module named 'nothing_like_it'"),
    ],
)
def test_revisions_of_a_plugin_that_cannot_be_read_are_a_sentence(
    engine: Engine, plugin_migrations: Path, wrong: str, sentence: str
) -> None:
    upgrade(engine, None)
    (plugin_migrations / "typed_0001.py").write_text(wrong)
    for asked in (status, upgrade, require_current):
        with pytest.raises(ConfigError) as raised:
            asked(engine, plugin_migrations)
        assert str(raised.value).startswith(sentence.replace("FOLDER", str(plugin_migrations)))
    with pytest.raises(ConfigError):
        new_revision(engine, plugin_migrations, Typed, "next", autogenerate=False)


@databases.one
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (REVISION.replace('("core",)', "None"), "no such table: files (typed_0001.py, line 12)"),
        (
            REVISION.replace("op.add_column", "op.ad_column"),
            "has no attribute 'ad_column' (typed_0001.py, line",
        ),
        (REVISION.replace("op.add_column", "raise SystemExit"), "SystemExit"),
    ],
)
def test_a_revision_of_a_plugin_that_fails_is_a_sentence(
    engine: Engine, plugin_migrations: Path, wrong: str, sentence: str
) -> None:
    (plugin_migrations / "typed_0001.py").write_text(wrong)
    with pytest.raises(DatabaseError, match=re.escape(sentence)):
        upgrade(engine, plugin_migrations)
    assert status(engine, plugin_migrations).is_empty


def test_a_failed_revision_leaves_the_schema_as_it_was(engine: Engine, plugin_migrations: Path) -> None:
    if engine.dialect.name == "mariadb":
        pytest.skip("MariaDB commits at each change of a table")
    upgrade(engine, None)
    (plugin_migrations / "typed_0001.py").write_text(REVISION + "    raise RuntimeError('no')\n")
    with pytest.raises(DatabaseError, match=r"RuntimeError: no \(typed_0001.py, line 13\)"):
        upgrade(engine, plugin_migrations)
    assert status(engine, plugin_migrations).pending == ("typed_0001",)
    assert drift(engine, Plain) == []


@pytest.mark.parametrize("revision", CORE)
def test_an_upgrade_from_any_earlier_revision_keeps_every_row(engine: Engine, revision: str) -> None:
    upgrade(engine, None, revision)
    before = fill(engine)
    upgrade(engine, None)
    assert drift(engine, Plain) == []
    after = rows(engine)
    assert {name: after[name] for name in before if name not in (VERSION_TABLE, "counters")} == {
        name: number for name, number in before.items() if name not in (VERSION_TABLE, "counters")
    }


def test_entries_of_the_feed_get_tokens_that_they_would_get_again(engine: Engine) -> None:
    upgrade(engine, None, "core_0004")
    fill(engine)
    upgrade(engine, None)
    tokens = []
    for _ in range(2):
        with reading(engine) as connection:
            tokens.append(connection.execute(select(FeedEntry.token)).scalars().all())
        with writing(engine) as connection:
            config = alembic_config(None)
            config.attributes["connection"] = connection
            command.downgrade(config, "core_0004")
        upgrade(engine, None)
    assert tokens[0] == tokens[1]
    assert [len(token or "") for token in tokens[0]] == [16]


def test_files_seen_by_an_earlier_release_are_still_the_same(engine: Engine) -> None:
    upgrade(engine, None, "core_0005")
    fill(engine)
    with writing(engine) as connection:
        connection.execute(text("UPDATE file_components SET inode = '2049:18446744073709551615'"))
    upgrade(engine, None)
    with reading(engine) as connection:
        assert connection.execute(select(FileComponent.inode)).scalar_one() == "18446744073709551615"


def test_the_last_revision_can_be_taken_back(engine: Engine, plugin_migrations: Path) -> None:
    upgrade(engine, plugin_migrations)
    fill(engine)
    config = alembic_config(plugin_migrations)
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "core@-1")
    assert status(engine, plugin_migrations).pending == (CORE[0],)
    assert rows(engine)["files"] == 1
    upgrade(engine, plugin_migrations)
    assert drift(engine, Typed) == []


def test_a_revision_is_written_from_what_the_model_has_and_the_tables_have_not(
    engine: Engine, tmp_path: Path
) -> None:
    upgrade(engine, None)
    migrations = tmp_path / "migrations"
    first = new_revision(engine, migrations, Typed, "the first columns", autogenerate=True)
    assert first is not None
    assert first.name == "tests_0001_the_first_columns.py"
    assert "category" in first.read_text()
    assert upgrade(engine, migrations).pending == ("tests_0001",)
    assert drift(engine, Typed) == []
    assert new_revision(engine, migrations, Typed, "nothing", autogenerate=True) is None

    class Timed(FileBase):
        __tablename__ = "files"
        category: Mapped[str | None]
        taken: Mapped[datetime | None] = mapped_column(index=True)

    second = new_revision(engine, migrations, Timed, "when it was taken", autogenerate=True)
    assert second is not None
    assert upgrade(engine, migrations).pending == ("tests_0002",)
    assert drift(engine, Timed) == []
    third = new_revision(engine, migrations, Timed, "by hand", autogenerate=False)
    assert third is not None
    assert "pass" in third.read_text()
    with pytest.raises(DatabaseError, match="run: carbonation db upgrade"):
        new_revision(engine, migrations, Timed, "too early", autogenerate=True)


def test_names_that_differ_in_bytes_differ_in_the_database(engine: Engine) -> None:
    upgrade(engine, None)
    with writing(engine) as connection:
        for name in ("a", "A", "a ", "ä", "a\u0308"):
            connection.execute(insert(Counter).values(name=name, value=len(name)))
        found = select(Counter.name).where(Counter.name == "a")
        assert list(connection.execute(found).scalars()) == ["a"]


def test_the_first_lock_of_a_name_is_held_by_one_at_a_time(section: DatabaseSection) -> None:
    engine = make_engine(section)
    upgrade(engine, None)

    @repeatable
    def count_one(_: int) -> None:
        with writing(engine) as connection:
            locks.count_up(connection, "new", 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_one, range(40)))
    with reading(engine) as connection:
        assert connection.execute(select(Counter.value).where(Counter.name == "new")).scalar() == 40
    engine.dispose()


def test_a_server_that_cannot_be_reached_is_a_sentence(section: DatabaseSection) -> None:
    for wrong, said in (
        ({"port": 1}, "cannot be reached"),
        ({"name": "/no/such"}, "cannot be reached|is gone"),
    ):
        if databases.SQLITE and "port" in wrong:
            continue
        engine = make_engine(section.model_copy(update=wrong))
        with pytest.raises(DatabaseError, match=said), reading(engine) as connection:
            connection.execute(text("SELECT 1"))
        engine.dispose()


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
