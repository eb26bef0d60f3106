"""An empty database, on each of the three, and a plugin's revisions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db.engine import make_engine, make_file
from tests import databases
from tests.core._helpers.migrating import REVISION


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
