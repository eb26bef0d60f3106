"""Projects for the command line."""

from pathlib import Path

import pytest

from tests.acceptance.command import Desk, deliver, new_desk, one_pass


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A project as it is scaffolded, without a database."""
    return new_desk(tmp_path)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A project with four archived groups; only for reading."""
    desk = new_desk(tmp_path_factory.mktemp("archive"))
    desk.good("db", "init")
    deliver(desk, "run1", "lidar", 1)
    deliver(desk, "run2", "lidar", 2)
    deliver(desk, "run3", "radar", 3)
    deliver(desk, "umlaut-ä", 'a,\\"b', 4)
    one_pass(desk)
    return desk
