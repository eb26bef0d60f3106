"""Bytes on their way, on real directories."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from carbonation_core.disk import transfer
from carbonation_core.disk.source import BLOCK, Source
from carbonation_core.disk.stamp import Stamp
from carbonation_core.disk.temporary import temporary_name
from carbonation_core.disk.transfer import Order
from carbonation_core.errors import AttemptFailed, EnvironmentFault, SourceChanged, Stopped


def as_source(path: Path, root: Path | None = None, follow_symlink: bool = False) -> Source:
    return Source(str(root or path.parent), str(path), Stamp.of(path.stat()), follow_symlink)


@pytest.fixture
def order(tmp_path: Path) -> Any:
    """Makes orders for a file with the bytes b"content"."""
    source = tmp_path / "source.dat"
    source.write_bytes(b"content")
    (tmp_path / "archive").mkdir()

    def make(**changes: Any) -> Order:
        values = {
            "component_id": 1,
            "source": as_source(source),
            "directory": str(tmp_path / "archive"),
            "name": "final.dat",
            "temporary": temporary_name("batch", 1),
            "action": "copy",
            "file_mode": 0o640,
            "durability": "batch",
            "verify": "written",
            **changes,
        }
        return Order(**values)

    return make


def in_archive(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "archive").iterdir()}


@pytest.mark.parametrize("durability", ["batch", "file", "none"])
@pytest.mark.parametrize("verify", ["written", "read"])
@pytest.mark.parametrize("action", ["copy", "move", "hardlink", "symlink"])
def test_the_final_name_appears_only_when_all_is_written(
    order: Any, tmp_path: Path, action: str, verify: str, durability: str
) -> None:
    one = order(action=action, verify=verify, durability=durability)
    written = transfer.write(one)
    assert in_archive(tmp_path) == {".carbonation-batch-1"}
    transfer.sync([written])
    transfer.verify(written)
    written = transfer.publish(written)
    transfer.sync_names([written])
    transfer.settle(written)
    assert in_archive(tmp_path) == {"final.dat"}
    assert (tmp_path / "archive" / "final.dat").read_bytes() == b"content"
    assert written.digest == hashlib.sha256(b"content").hexdigest()
    assert Path(one.source.path).exists()


def test_a_source_that_changed_is_not_written(order: Any, tmp_path: Path) -> None:
    one = order()
    Path(one.source.path).write_bytes(b"other content")
    with pytest.raises(SourceChanged):
        transfer.write(one)
    assert in_archive(tmp_path) == set()


@pytest.mark.parametrize("action", ["copy", "move", "hardlink", "symlink"])
def test_who_is_told_to_stop_leaves_a_large_file_where_it_is(order: Any, tmp_path: Path, action: str) -> None:
    large = tmp_path / "large.dat"
    with large.open("wb") as file:
        file.truncate(4 * BLOCK)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Stopped):
        transfer.write(order(source=as_source(large), action=action), stop=stop)
    assert len(asked) == 3
    assert in_archive(tmp_path) == set()


def test_a_source_that_became_a_symlink_is_not_followed(order: Any, tmp_path: Path) -> None:
    one = order()
    Path(one.source.path).rename(tmp_path / "elsewhere")
    Path(one.source.path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceChanged, match="symlink"):
        transfer.write(one)


def test_nothing_is_ever_replaced_that_is_not_ours(order: Any, tmp_path: Path) -> None:
    written = transfer.write(order())
    (tmp_path / "archive" / "final.dat").write_bytes(b"somebody else's")
    with pytest.raises(AttemptFailed, match="appeared meanwhile"):
        transfer.publish(written)
    assert (tmp_path / "archive" / "final.dat").read_bytes() == b"somebody else's"


def test_our_own_earlier_copy_is_replaced_in_one_step(order: Any, tmp_path: Path) -> None:
    (tmp_path / "archive" / "final.dat").write_bytes(b"ours, earlier")
    written = transfer.publish(transfer.write(order(supersedes=True)))
    assert (tmp_path / "archive" / "final.dat").read_bytes() == b"content"
    transfer.settle(written)
    assert in_archive(tmp_path) == {"final.dat"}


@pytest.mark.parametrize("supersedes", [False, True])
@pytest.mark.parametrize("action", ["copy", "move", "hardlink", "symlink"])
def test_a_name_that_is_not_recorded_can_be_taken_back(
    order: Any, tmp_path: Path, action: str, supersedes: bool
) -> None:
    if supersedes:
        (tmp_path / "archive" / "final.dat").write_bytes(b"ours, earlier")
    written = transfer.publish(transfer.write(order(action=action, supersedes=supersedes)))
    transfer.withdraw(written.order)
    assert in_archive(tmp_path) == ({"final.dat"} if supersedes else set())
    assert not supersedes or (tmp_path / "archive" / "final.dat").read_bytes() == b"ours, earlier"


def test_a_link_to_a_source_that_was_rewritten_in_place_leaves_no_temporary_name(
    order: Any, tmp_path: Path
) -> None:
    first = transfer.publish(transfer.write(order(action="hardlink")))
    transfer.settle(first)
    (tmp_path / "source.dat").write_bytes(b"rewritten")  # and so is what was archived
    again = order(action="hardlink", supersedes=True)
    transfer.settle(transfer.publish(transfer.write(again)))
    assert in_archive(tmp_path) == {"final.dat"}


def test_what_does_not_read_back_is_a_fault_of_the_environment(order: Any, tmp_path: Path) -> None:
    written = transfer.write(order(verify="read"))
    with Path(written.order.temporary_path).open("r+b") as damaged:
        damaged.write(b"C")
    with pytest.raises(EnvironmentFault, match="reads back other bytes"):
        transfer.verify(written)
    os.truncate(written.order.temporary_path, 3)
    with pytest.raises(EnvironmentFault, match="does not have the 7 bytes"):
        transfer.verify(written)


def test_equal_bytes_under_the_final_name_are_found(order: Any, tmp_path: Path) -> None:
    (tmp_path / "archive" / "final.dat").write_bytes(b"content")
    assert transfer.already_there(order()) is not None
    (tmp_path / "archive" / "final.dat").write_bytes(b"CONTENT")
    assert transfer.already_there(order()) is None
