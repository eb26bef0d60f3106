"""What tests of several packages share."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.site import Site, SiteMaker, make_site

# In the background of a shell SIGINT is ignored, and Dagster has SIGTERM do whatever
# SIGINT does: the processes that tests start would not end when they are asked to.
signal.signal(signal.SIGINT, signal.default_int_handler)

MEMORY = Path("/dev/shm")
ROOM = 2 << 30  # bytes there; some tests write large files, and a failed run keeps its own


def pytest_configure() -> None:
    """Directories of tests lie in memory, where their many commits cost the least, if there is room."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores: a test of a live service mostly waits for it."""
    return (os.cpu_count() or 1) * 3 // 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first, so that processes that share the tests end together.

    On a server run only those that state a fact about the database; see `tests.databases`.
    """
    items.sort(key=_longest, reverse=True)
    if databases.SQLITE:
        return
    asking = [item for item in items if databases.is_asked(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in asking])
    items[:] = asking


def _longest(item: pytest.Item) -> float:
    """Seconds that a slow test may take; 0 for the many others."""
    limit = item.get_closest_marker("timeout")
    is_slow = any(item.get_closest_marker(name) for name in ("slow", "long"))
    return 0 if not is_slow else limit.args[0] if limit else 1


@pytest.fixture(scope="session")
def on_each_database() -> Iterator[None]:
    """For whatever holds on each kind of database; see `tests.databases`."""
    reason = databases.unreachable()
    if reason is not None:
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    yield
    databases.drop_all()


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A directory of the test's own that is on a disk, wherever the others are."""
    with tempfile.TemporaryDirectory(prefix="carbonation-") as directory:
        yield Path(directory)


@pytest.fixture
def make(on_each_database: None, tmp_path: Path) -> Iterator[SiteMaker]:
    """Makes projects in the test's own directory; see `tests.site.make_site`."""
    made: list[Site] = []

    def maker(*arguments: object, **options: object) -> Site:
        made.append(make_site(tmp_path, *arguments, **options))  # type: ignore[arg-type]
        return made[-1]

    yield maker
    for site in made:
        site.close()


@pytest.fixture
def site(make: SiteMaker) -> Site:
    """A watch of pairs of .dat and .json, archived flat by copying."""
    return make()
