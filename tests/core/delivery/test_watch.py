"""Hints from real file events on real directories."""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers.inotify_c import InotifyConstants as In

from carbonation_core.config.sections import Watch
from carbonation_core.disk import file_system, inotify
from carbonation_core.disk import watcher as watching
from carbonation_core.disk.inotify import PROBE
from carbonation_core.disk.scan import Hints
from carbonation_core.disk.watcher import FULL_LOOK_EVERY, TRY_AGAIN_AFTER, Watcher

COMES_WITHIN = 10.0  # seconds for an event to come


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
            assert hints.everything
        return made[-1]

    yield make
    for one in made:
        one.stop()


def hinted(watcher: Watcher, *paths: str) -> set[str]:
    """What is told, by events alone, until all these paths are; nothing if they are not in time.

    A path is told, too, by that of a directory that it lies in.
    """
    found: set[str] = set()
    waited_for = set(paths)
    while waited_for:
        if not watcher.wait(COMES_WITHIN):
            return set()
        with watcher.hints() as hints:
            assert not hints.everything
            found |= hints.files | hints.directories
            waited_for -= {path for path in waited_for if path in found or hints.told_of(path)}
    return found


def all_is_looked_at(watcher: Watcher) -> None:
    """Wait for the look at everything."""
    while watcher.wait(COMES_WITHIN):
        with watcher.hints() as hints:
            if hints.everything:
                return
    pytest.fail("no full look came")


def refusing(number: int) -> Callable[..., int]:
    """A system call that fails."""

    def call(*_: object) -> int:
        ctypes.set_errno(number)
        return -1

    return call


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


def test_a_directory_that_moved_in_is_listened_to_with_all_that_is_in_it(
    watcher: Any, tmp_path: Path
) -> None:
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    one = watcher(recursive=True)
    (tmp_path / "outside").rename(tmp_path / "incoming" / "in")
    assert hinted(one, "in")
    (tmp_path / "incoming" / "in").rename(tmp_path / "incoming" / "renamed")
    assert hinted(one, "in", "renamed")
    (tmp_path / "incoming" / "renamed" / "deep" / "a").write_bytes(b"x")
    assert hinted(one, "renamed/deep/a")
    (tmp_path / "incoming" / "renamed").rename(tmp_path / "out")
    assert hinted(one, "renamed")
    (tmp_path / "out" / "deep" / "b").write_bytes(b"x")
    (tmp_path / "incoming" / "c").write_bytes(b"x")
    assert hinted(one, "c") == {"c"}


def test_a_tree_made_at_once_is_told(watcher: Any, tmp_path: Path) -> None:
    one = watcher(recursive=True)
    deep = tmp_path / "incoming" / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert hinted(one, "a")
    (deep / "file").write_bytes(b"x")
    assert hinted(one, "a/b/c/file")


def test_the_first_look_is_at_everything_and_then_only_at_what_changed(watcher: Any) -> None:
    with watcher().hints() as hints:
        assert hints == Hints(by_events=True)


def test_how_long_a_file_has_been_quiet_is_told_by_its_last_event(
    watcher: Any, tmp_path: Path, clock: Clock
) -> None:
    one = watcher()
    with one.hints():  # of what came before it listened
        pass
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "a").rename(tmp_path / "incoming" / "a")  # one event; to write a file there is several
    assert one.wait(COMES_WITHIN)
    while "a" not in one._files:
        one.wait(0.01)
    clock.now += 3
    with one.hints() as hints:
        assert hints.quiet == {"a": 3.0}
    with one.hints() as hints:
        assert hints.quiet == {}


def test_where_no_events_come_a_wait_ends_when_all_is_to_be_looked_at_again(
    watcher: Any, clock: Clock
) -> None:
    one = watcher(observer="polling")
    assert not one.wait(0)
    clock.now += 5.0  # its poll_interval
    assert one.wait(0)
    with one.hints() as hints:
        assert hints.everything
    assert not one.wait(0)


def test_every_few_minutes_everything_is_looked_at(watcher: Any, clock: Clock) -> None:
    one = watcher()
    clock.now += FULL_LOOK_EVERY
    with one.hints() as hints:
        assert hints.everything
    with one.hints() as hints:
        assert not hints.everything


def test_a_look_that_failed_is_repeated_at_everything(watcher: Any) -> None:
    one = watcher()
    with pytest.raises(OSError, match="gone"), one.hints():
        raise OSError("gone")
    with one.hints() as hints:
        assert hints.everything


def test_more_hints_than_are_remembered_lead_to_a_full_look(
    watcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_HINTS", 0)  # with more, hints may be taken before they are too many
    one = watcher()
    (tmp_path / "incoming" / "a.dat").write_bytes(b"x")
    all_is_looked_at(one)


def test_events_that_were_lost_lead_to_a_full_look(
    watcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = watcher()
    monkeypatch.setattr(inotify, "_events", lambda _: iter([(-1, In.IN_Q_OVERFLOW, "")]))
    (tmp_path / "incoming" / "a.dat").write_bytes(b"x")
    assert one.wait(COMES_WITHIN)
    monkeypatch.undo()
    all_is_looked_at(one)
    (tmp_path / "incoming" / "b.dat").write_bytes(b"x")
    assert hinted(one, "b.dat")


def test_a_directory_that_goes_and_comes_back_is_listened_to_again(watcher: Any, tmp_path: Path) -> None:
    one = watcher()
    (tmp_path / "incoming").rename(tmp_path / "away")
    (tmp_path / "away").rmdir()
    assert one.wait(COMES_WITHIN)
    (tmp_path / "incoming").mkdir()
    for _ in range(100):
        with one.hints() as hints:
            pass
        if not hints.everything:
            break
        one.wait(0.1)
    (tmp_path / "incoming" / "a.dat").write_bytes(b"x")
    assert hinted(one, "a.dat")


def test_a_polled_watch_is_looked_at_each_interval(watcher: Any, clock: Clock) -> None:
    one = watcher(observer="polling")
    with one.hints() as hints:
        assert hints == Hints(by_events=False)
    clock.now += 5
    with one.hints() as hints:
        assert hints.everything


def test_another_directory_in_its_place_is_listened_to(watcher: Any, tmp_path: Path) -> None:
    one = watcher()
    (tmp_path / "other").mkdir()
    (tmp_path / "incoming").rename(tmp_path / "away")
    (tmp_path / "other").rename(tmp_path / "incoming")
    all_is_looked_at(one)
    (tmp_path / "away" / "not_here.dat").write_bytes(b"x")
    (tmp_path / "incoming" / "a.dat").write_bytes(b"x")
    assert hinted(one, "a.dat")


@pytest.mark.parametrize(
    ("number", "limit"),
    [(errno.ENOSPC, "fs.inotify.max_user_watches"), (errno.EMFILE, "fs.inotify.max_user_instances")],
)
def test_without_free_watches_it_is_polled_and_the_sysctl_is_named(
    watcher: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    clock: Clock,
    number: int,
    limit: str,
) -> None:
    monkeypatch.setattr(inotify, "inotify_add_watch", refusing(number))
    one = watcher()
    assert f"sysctl -w {limit}" in one.trouble
    assert "it is polled" in caplog.text
    clock.now += 5
    with one.hints() as hints:
        assert hints.everything
        assert not hints.by_events
    monkeypatch.undo()
    clock.now += TRY_AGAIN_AFTER
    with one.hints() as hints:
        assert hints.by_events
    assert one.trouble is None


def test_a_limit_that_a_new_directory_meets_ends_in_polling(
    watcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = watcher(recursive=True)
    monkeypatch.setattr(inotify, "inotify_add_watch", refusing(errno.ENOSPC))
    (tmp_path / "incoming" / "new").mkdir()
    assert one.wait(COMES_WITHIN)
    all_is_looked_at(one)
    assert "max_user_watches" in one.trouble


def test_where_events_do_not_come_it_is_polled(
    watcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify, "_events", lambda _: iter(()))
    monkeypatch.setattr(watching, "PROBE_WAIT", 0.05)
    one = watcher()
    assert "was not told of" in one.trouble
    assert watcher(observer="native").trouble is None


def test_the_trial_leaves_nothing_and_tells_nothing(watcher: Any, tmp_path: Path) -> None:
    (tmp_path / "incoming" / PROBE).mkdir(parents=True)  # as of a process that was killed
    one = watcher(recursive=True)
    assert list((tmp_path / "incoming").iterdir()) == []
    with one.hints() as hints:
        assert hints == Hints(by_events=True)


def test_where_no_trial_can_be_made_events_are_taken_to_come(
    watcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    (tmp_path / "incoming").mkdir()
    monkeypatch.setattr(inotify.os, "mkdir", refused)
    assert watcher().trouble is None


def test_a_file_system_of_other_hosts_is_polled(
    watcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_system, "kind_of", lambda _: "nfs4")
    one = watcher()
    (tmp_path / "incoming" / "a.dat").write_bytes(b"x")
    assert not one.wait(0.2)
    assert one.trouble is None
