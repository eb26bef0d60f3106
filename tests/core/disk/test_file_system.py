"""Directories of an archive, as disk and mount have them."""

from pathlib import Path

import pytest

from carbonation_core.disk import file_system
from carbonation_core.errors import AttemptFailed


def test_a_directory_in_the_way_says_so(tmp_path: Path) -> None:
    (tmp_path / "sub").write_bytes(b"a file")
    with pytest.raises(AttemptFailed, match="not a directory"):
        file_system.make_directory(str(tmp_path / "sub" / "deeper"), 0o750, create=True)


def test_a_base_without_anything_in_it_is_gone(tmp_path: Path) -> None:
    assert file_system.base_is_gone(tmp_path)
    assert file_system.base_is_gone(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert not file_system.base_is_gone(tmp_path)
