"""Hints from real file events on real directories."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carbonation_core import watch as watching
from carbonation_core.config import Watch
from carbonation_core.scan import Hints
from carbonation_core.watch import FULL_LOOK_EVERY, Watcher, file_system

PATIENCE = 10.0  # seconds for an event to come


class Clock:
    """A monotonic clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watcher(tmp_path: Path, clock: Clock) -> Iterator[Any]:
    """Makes watchers of `incoming`; each has had its first look."""
    made: list[Watcher] = []

    def make(**keys: Any) -> Watcher:
        (tmp_path / "incoming").mkdir(exist_ok=True)
        values = {"name": "w", "path": str(tmp_path / "incoming"), "rules": "r", **keys}
        made.append(Watcher(Watch.model_validate(values), 5.0, clock))
        with made[-1].hints() as hints:
            assert hints is None
        return made[-1]

    yield make
    for one in made:
        one.stop()


def hinted(watcher: Watcher, *paths: str) -> bool:
    """Whether all these paths are told in time, by events alone."""
    found: set[str] = set()
    while not found >= set(paths):
        if not watcher.wait(PATIENCE):
            return False
        with watcher.hints() as hints:
            assert hints is not None
            found |= hints.files | hints.directories
    return True


def test_a_new_file_is_told(watcher: Any, tmp_path: Path) -> None:
    one = watcher()
    (tmp_path / "incoming" / "a.dat").write_bytes(b"x")
    assert hinted(one, "a.dat")


def test_what_changes_moves_or_goes_is_told(watcher: Any, tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for name in ("changed", "chmoded", "moved", "deleted", "leaves"):
        (incoming / name).write_bytes(b"x")
    (tmp_path / "arrives").write_bytes(b"x")
    one = watcher()
    (incoming / "changed").write_bytes(b"y")
    (incoming / "chmoded").chmod(0o600)
    (incoming / "moved").rename(incoming / "moved.dat")
    (incoming / "deleted").unlink()
    (incoming / "leaves").rename(tmp_path / "left")
    (tmp_path / "arrives").rename(incoming / "arrived")
    assert hinted(one, "changed", "chmoded", "moved", "moved.dat", "deleted", "leaves", "arrived")


def test_a_name_that_is_not_utf_8_is_told_as_it_is_spelled(watcher: Any, tmp_path: Path) -> None:
    one = watcher()
    (tmp_path / "incoming" / os.fsdecode(b"latin-\xe9.dat")).write_bytes(b"x")
    assert hinted(one, r"latin-\xe9.dat")


def test_directories_that_come_and_go_are_told(watcher: Any, tmp_path: Path) -> None:
    outside, incoming = tmp_path / "outside", tmp_path / "incoming"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "file").write_bytes(b"x")
    one = watcher(recursive=True)
    outside.rename(incoming / "moved_in")
    assert hinted(one, "moved_in")
    (incoming / "moved_in").rename(tmp_path / "moved_out")
    assert hinted(one, "moved_in")
    (incoming / "made").mkdir()
    assert hinted(one, "made")
    (incoming / "made" / "inner").write_bytes(b"x")
    assert hinted(one, "made/inner")


def test_the_first_look_is_at_everything_and_then_only_at_what_changed(watcher: Any) -> None:
    with watcher().hints() as hints:
        assert hints == Hints()


def test_every_few_minutes_everything_is_looked_at(watcher: Any, clock: Clock) -> None:
    one = watcher()
    clock.now += FULL_LOOK_EVERY
    with one.hints() as hints:
        assert hints is None
    with one.hints() as hints:
        assert hints is not None


def test_a_look_that_failed_is_repeated_at_everything(watcher: Any) -> None:
    one = watcher()
    with pytest.raises(OSError, match="gone"), one.hints():
        raise OSError("gone")
    with one.hints() as hints:
        assert hints is None


def test_as_many_events_as_may_overflow_a_queue_lead_to_a_full_look(
    watcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "TOO_MANY_EVENTS", 20)
    one = watcher()
    for number in range(30):
        (tmp_path / "incoming" / f"{number}").write_bytes(b"x")
    for _ in range(100):
        with one.hints() as hints:
            if hints is None:
                return
        one.wait(PATIENCE)
    pytest.fail("no full look came")


def test_a_directory_that_goes_and_comes_back_is_listened_to_again(watcher: Any, tmp_path: Path) -> None:
    one = watcher()
    (tmp_path / "incoming").rename(tmp_path / "away")
    (tmp_path / "away").rmdir()
    assert one.wait(PATIENCE)
    (tmp_path / "incoming").mkdir()
    for _ in range(100):
        with one.hints() as hints:
            pass
        if hints is not None:
            break
        one.wait(0.1)
    (tmp_path / "incoming" / "a.dat").write_bytes(b"x")
    assert hinted(one, "a.dat")


def test_a_polled_watch_is_looked_at_each_interval(watcher: Any, clock: Clock) -> None:
    one = watcher(observer="polling")
    with one.hints() as hints:
        assert hints == Hints()
    clock.now += 5
    with one.hints() as hints:
        assert hints is None


def test_without_free_watches_it_is_polled_and_the_sysctl_is_named(
    watcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(watching.BaseObserver, "start", full)
    one = watcher()
    assert "sysctl fs.inotify.max_user_watches" in one.trouble
    assert "it is polled" in caplog.text


def test_a_file_system_of_other_hosts_is_polled(
    watcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "file_system", lambda _: "nfs4")
    one = watcher()
    (tmp_path / "incoming" / "a.dat").write_bytes(b"x")
    assert not one.wait(0.2)
    assert one.trouble is None


def test_the_file_system_of_a_path_is_that_of_its_nearest_mount() -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/")) != ""
