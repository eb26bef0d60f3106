"""What the kernel's queue does under load, and what is told of it."""

import threading
from pathlib import Path

from carbonation_core.disk.inotify import Listener

COMES_WITHIN = 10.0  # seconds for an event to come


def test_a_queue_that_overflows_ends_the_listener(tmp_path: Path) -> None:
    gate, ended = threading.Event(), threading.Event()
    told: list[str] = []

    def changed(path: str, is_directory: bool) -> None:
        gate.wait(COMES_WITHIN)
        told.append(path)

    longest = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    listener = Listener(tmp_path, enters=lambda _: False, changed=changed, ended=ended.set)
    first, second = tmp_path / "a", tmp_path / "b"
    first.touch()
    for _ in range(longest // 4 + 1000):  # four events each, more than are read in advance
        first.rename(second)
        second.rename(first)
    gate.set()
    assert ended.wait(COMES_WITHIN)
    assert listener.fault is None
    assert len(told) >= longest
    listener.stop()


def test_a_listener_keeps_nothing_of_files_and_directories_that_came_and_went(tmp_path: Path) -> None:
    ended, last = threading.Event(), threading.Event()

    def changed(path: str, is_directory: bool) -> None:
        if path.endswith("/last"):
            last.set()

    listener = Listener(tmp_path, enters=lambda _: True, changed=changed, ended=ended.set)
    for number in range(200):
        (tmp_path / f"{number}" / "deep").mkdir(parents=True)
        (tmp_path / f"{number}.tmp").touch()
        (tmp_path / f"{number}.tmp").rename(tmp_path / f"{number}" / "file")
    for number in range(200):
        (tmp_path / f"{number}" / "deep").rmdir()
        (tmp_path / f"{number}" / "file").unlink()
        (tmp_path / f"{number}").rmdir()
    (tmp_path / "last").touch()
    assert last.wait(COMES_WITHIN)
    assert set(listener._watches) == set(listener._paths.values()) == {str(tmp_path)}
    listener.stop()


def test_it_ends_with_its_root(tmp_path: Path) -> None:
    ended = threading.Event()
    (tmp_path / "root").mkdir()
    listener = Listener(tmp_path / "root", enters=lambda _: True, changed=lambda *_: None, ended=ended.set)
    assert listener.is_listening
    (tmp_path / "root").rmdir()
    assert ended.wait(COMES_WITHIN)
    listener.stop()
