"""Where the faults happen: in memory, where the many commits of these tests cost the least."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of the test's own, in memory if the machine has room for files there."""
    if not MEMORY.is_dir():
        yield tmp_path_factory.mktemp("disk")
        return
    directory = Path(tempfile.mkdtemp(prefix="carbonation-", dir=MEMORY))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory where tests usually have theirs."""
    return tmp_path_factory.mktemp("disk")
