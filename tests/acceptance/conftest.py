"""Projects for the command line."""

from pathlib import Path

import pytest

from tests.acceptance._helpers.command import Desk, archived, new_desk


@pytest.fixture
def desk(on_each_database: None, tmp_path: Path) -> Desk:
    """A project as it is scaffolded, without a database."""
    return new_desk(tmp_path)


@pytest.fixture(scope="session")
def archive(on_each_database: None, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A project with four archived groups; only for reading."""
    return archived(tmp_path_factory.mktemp("archive"))
