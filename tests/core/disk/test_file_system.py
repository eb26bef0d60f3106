"""Directories of an archive, as disk and mount have them."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbonation_core.disk import file_system
from carbonation_core.errors import AttemptFailed


def test_a_directory_in_the_way_says_so(tmp_path: Path) -> None:
    (tmp_path / "sub").write_bytes(b"a file")
    with pytest.raises(AttemptFailed, match="not a directory"):
        file_system.make_directory(str(tmp_path / "sub" / "deeper"), 0o750, create=True)


GROUP, NOBODY = 12_345, 65_534


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory of another group, which all that is made in it inherits; under a umask of 022."""
    before = os.umask(0o022)
    with tempfile.TemporaryDirectory() as directory:  # others may not enter pytest's own
        os.chown(directory, -1, GROUP)
        Path(directory).chmod(0o2777)
        yield Path(directory)
    os.umask(before)


def state_of(path: Path) -> tuple[int, int]:
    """Group and mode."""
    found = path.stat()
    return found.st_gid, stat.S_IMODE(found.st_mode)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories to a group at will")


@needs_root
@pytest.mark.parametrize(("mode", "made"), [(0o750, 0o2750), (0o770, 0o2770), (0o2775, 0o2775)])
def test_directories_below_one_with_setgid_keep_bit_and_group(shared: Path, mode: int, made: int) -> None:
    file_system.make_directory(str(shared / "a" / "b"), mode, create=True)
    assert state_of(shared / "a") == state_of(shared / "a" / "b") == (GROUP, made)


@needs_root
def test_who_is_not_of_the_group_takes_no_bit_away(shared: Path) -> None:
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        file_system.make_directory(str(shared / "a" / "b"), 0o750, create=True)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    assert state_of(shared / "a") == state_of(shared / "a" / "b") == (GROUP, 0o2750)


def test_a_mode_with_setgid_begins_the_inheritance(tmp_path: Path) -> None:
    file_system.make_directory(str(tmp_path / "a" / "b"), 0o2770, create=True)
    assert state_of(tmp_path / "a")[1] == state_of(tmp_path / "a" / "b")[1] == 0o2770


def test_without_setgid_above_the_mode_is_as_configured(tmp_path: Path) -> None:
    file_system.make_directory(str(tmp_path / "a"), 0o777, create=True)
    assert state_of(tmp_path / "a")[1] == 0o777


def test_a_base_without_anything_in_it_is_gone(tmp_path: Path) -> None:
    assert file_system.base_is_gone(tmp_path)
    assert file_system.base_is_gone(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert not file_system.base_is_gone(tmp_path)


def test_the_file_system_of_a_path_is_that_of_its_nearest_mount() -> None:
    assert file_system.kind_of(Path("/proc/self")) == "proc"
    assert file_system.kind_of(Path("/")) != ""
