"""The schema: applied once, whoever asks how often, together with a plugin's columns."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import (
    Engine,
    inspect,
    select,
    text,
)

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db.engine import make_engine, reading, writing
from carbonation_core.db.migrate import (
    alembic_config,
    drift,
    require_current,
    status,
    upgrade,
)
from carbonation_core.db.models import Base, FeedEntry, FileComponent
from carbonation_core.db.schema import VERSION_TABLE
from carbonation_core.errors import DatabaseError
from tests import databases
from tests.core._helpers.migrating import CORE, Plain, Typed, fill, rows, where


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


@pytest.mark.parametrize(
    ("sites", "whose"), [((), ""), (("north", "north"), "north"), (("north", "south"), "")]
)
def test_versions_of_rules_are_the_only_sites_or_everybodys(
    engine: Engine, sites: tuple[str, ...], whose: str
) -> None:
    upgrade(engine, None, "core_0015")
    fill(engine)
    with writing(engine) as connection:
        (row,) = connection.execute(text("SELECT since, host, file_system, inode FROM watches")).mappings()
        connection.execute(text("DELETE FROM watches"))
        for number, site in enumerate(sites):
            values = {**row, "watch_name": f"watch{number}", "site": site}
            columns = ", ".join(values)
            places = ", ".join(f":{name}" for name in values)
            connection.execute(text(f"INSERT INTO watches ({columns}) VALUES ({places})"), values)
    upgrade(engine, None)
    with reading(engine) as connection:
        assert connection.execute(text("SELECT site FROM rules_versions")).scalar_one() == whose
