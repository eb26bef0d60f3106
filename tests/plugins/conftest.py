"""The plugins as they lie in the tree, installed or not."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db.engine import make_engine

PLUGINS = Path(__file__).parents[2] / "plugins"
sys.path += [str(PLUGINS), str(PLUGINS / "shapefile"), str(PLUGINS / "shapefile" / "demo")]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database of its own."""
    engine = make_engine(DatabaseSection(name=str(tmp_path / "carbonation.db")))
    yield engine
    engine.dispose()
