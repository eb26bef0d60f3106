"""Delivered files, reached without a window between look and use."""

import os
from pathlib import Path

import pytest

from carbonation_core.disk import source
from carbonation_core.disk.source import Source
from carbonation_core.disk.stamp import Stamp
from carbonation_core.errors import SourceChanged


@pytest.fixture
def watch(tmp_path: Path) -> Path:
    directory = tmp_path / "watch"
    (directory / "inside").mkdir(parents=True)
    (directory / "inside" / "file").write_bytes(b"content")
    return directory


def at(watch: Path, path: Path, follow_symlink: bool = False) -> Source:
    return Source(str(watch), str(path), Stamp.of(path.stat()), follow_symlink)


def test_a_moved_source_is_removed_only_if_it_is_what_was_taken(watch: Path) -> None:
    file = watch / "inside" / "file"
    taken = at(watch, file)
    file.write_bytes(b"newer bytes")
    assert not source.remove(taken)
    assert file.exists()
    assert source.remove(at(watch, file))
    assert not file.exists()
    assert source.remove(taken)


def test_a_directory_that_was_exchanged_for_a_symlink_leads_nowhere(watch: Path, tmp_path: Path) -> None:
    taken = at(watch, watch / "inside" / "file")
    (watch / "inside").rename(tmp_path / "outside")
    (watch / "inside").symlink_to(tmp_path / "outside")
    with pytest.raises(SourceChanged, match="became a symlink"):
        source.digest(taken)
    with pytest.raises(SourceChanged, match="became a symlink"):
        source.link(taken, str(tmp_path / "link"), Path(taken.path).stat())
    assert not source.remove(taken)
    assert (tmp_path / "outside" / "file").exists()
    assert not (tmp_path / "link").exists()


def test_a_followed_symlink_cannot_lead_outside(watch: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (watch / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceChanged, match="outside its watch"):
        source.digest(at(watch, watch / "link", follow_symlink=True))


def test_a_followed_symlink_may_lead_inside(watch: Path) -> None:
    (watch / "link").symlink_to("inside/file")
    followed = at(watch, watch / "link", follow_symlink=True)
    assert source.digest(followed) == source.digest(at(watch, watch / "inside" / "file"))


def test_of_a_followed_symlink_the_link_is_removed_and_not_what_it_leads_to(watch: Path) -> None:
    (watch / "link").symlink_to("inside/file")
    assert source.remove(at(watch, watch / "link", follow_symlink=True))
    assert not (watch / "link").is_symlink()
    assert (watch / "inside" / "file").exists()


def test_a_link_to_another_file_than_was_found_is_refused(watch: Path, tmp_path: Path) -> None:
    file = watch / "inside" / "file"
    found = file.stat()
    taken = at(watch, file)
    file.rename(watch / "elsewhere")
    file.write_bytes(b"CONTENT")
    with pytest.raises(SourceChanged, match="was exchanged"):
        source.link(taken, str(tmp_path / "link"), found)


def test_the_ctime_of_our_own_link_is_taken_over_and_no_other_change(watch: Path) -> None:
    file = watch / "inside" / "file"
    taken = at(watch, file)
    while file.stat().st_ctime_ns == taken.stamp.ctime_ns:
        (watch / "link").unlink(missing_ok=True)
        os.link(file, watch / "link")
    assert source.stamp_after_link(taken) == Stamp.of(file.stat())
    file.write_bytes(b"other content")
    assert source.stamp_after_link(taken) == taken.stamp
