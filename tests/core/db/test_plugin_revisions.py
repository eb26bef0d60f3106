"""Revisions of a plugin: found, read, run and written."""

import re
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Mapped, mapped_column

from carbonation_core.db.migrate import (
    drift,
    require_current,
    status,
    upgrade,
)
from carbonation_core.db.models import FileBase
from carbonation_core.db.revisions import new_revision
from carbonation_core.errors import ConfigError, DatabaseError
from tests import databases
from tests.core._helpers.migrating import REVISION, Plain, Typed


def test_the_plugin_moves_with_the_core(engine: Engine, plugin_migrations: Path) -> None:
    assert "typed_0001" in upgrade(engine, plugin_migrations).pending
    assert drift(engine, Typed) == []


def test_a_plugin_may_come_later(engine: Engine, plugin_migrations: Path) -> None:
    upgrade(engine, None)
    assert status(engine, plugin_migrations).pending == ("typed_0001",)
    upgrade(engine, plugin_migrations)
    assert drift(engine, Typed) == []


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
