"""The log's file: rotated, kept as long as configured, and never the reason why work stops."""

import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from carbonation_core.config.rotation import parse_retention, parse_rotation
from carbonation_core.logs.file import LogFile
from tests.faults._helpers.disks import mounted, remount

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0


class Clock:
    """A time that tests set; files are as old as it says."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


Made = Callable[..., LogFile]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_log(tmp_path: Path, clock: Clock) -> Iterator[Made]:
    made: list[LogFile] = []

    def make(rotation: str = "1 GB", retention: str = "100 files", name: str = "c.log") -> LogFile:
        file = tmp_path / name
        log = LogFile(file, parse_rotation(rotation), parse_retention(retention), clock)
        made.append(log)
        return log

    yield make
    for log in made:
        log.close()


def say(log: LogFile, message: str) -> None:
    log.emit(logging.makeLogRecord({"msg": message}))


def found(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(directory.iterdir()) if path.is_file()}


def test_a_file_that_would_get_too_large_is_begun_anew(make_log: Made, tmp_path: Path, clock: Clock) -> None:
    log = make_log(rotation="10 B")
    for message in ("12345", "678", "more", "a line that is longer than that"):
        say(log, message)
        clock.now += 1

    assert found(tmp_path) == {
        "c.log": "a line that is longer than that\n",
        "c.log.20260301T120001Z": "12345\n678\n",
        "c.log.20260301T120002Z": "more\n",
    }


def test_two_old_files_of_one_second_have_two_names(make_log: Made, tmp_path: Path) -> None:
    log = make_log(rotation="2 B")
    for message in "abc":
        say(log, message)

    assert found(tmp_path) == {
        "c.log": "c\n",
        "c.log.20260301T120000Z": "a\n",
        "c.log.20260301T120000Z-2": "b\n",
    }


def test_a_period_ends_where_it_does_for_everybody_and_outlives_a_restart(
    make_log: Made, tmp_path: Path, clock: Clock
) -> None:
    log = make_log(rotation="1 day")
    say(log, "noon")
    clock.now = NOON + 11 * HOUR
    say(log, "before midnight")
    os.utime(tmp_path / "c.log", (clock.now, clock.now))
    log.close()
    clock.now = NOON + 13 * HOUR
    again = LogFile(tmp_path / "c.log", parse_rotation("1 day"), parse_retention("9 files"), clock)
    say(again, "after midnight")
    again.close()

    assert found(tmp_path) == {
        "c.log": "after midnight\n",
        "c.log.20260301T230000Z": "noon\nbefore midnight\n",
    }


def test_old_files_are_kept_up_to_their_number(make_log: Made, tmp_path: Path, clock: Clock) -> None:
    log = make_log(rotation="2 B", retention="2 files")
    (tmp_path / "c.log.backup").write_text("somebody's own\n")
    for message in "abcd":
        say(log, message)
        os.utime(tmp_path / "c.log", (clock.now, clock.now))
        clock.now += 1

    assert list(found(tmp_path).values()) == ["d\n", "b\n", "c\n", "somebody's own\n"]


def test_old_files_are_kept_until_they_are_older(make_log: Made, tmp_path: Path, clock: Clock) -> None:
    log = make_log(rotation="1 hour", retention="1 day")
    for message in "abc":
        say(log, message)
        os.utime(tmp_path / "c.log", (clock.now, clock.now))
        clock.now += 13 * HOUR
    say(log, "d")

    assert list(found(tmp_path).values()) == ["d\n", "c\n"]


@pytest.mark.parametrize("mtime", [2**62, -(2**40)])
def test_a_file_of_any_time_is_written_to(make_log: Made, tmp_path: Path, mtime: int) -> None:
    for name in ("c.log", "c.log.20260101T000000Z"):
        (tmp_path / name).write_text("before\n")
        os.utime(tmp_path / name, (mtime, mtime))
    say(make_log(rotation="1 day", retention="1 day"), "after")
    assert any(text.endswith("after\n") for text in found(tmp_path).values())


def test_a_file_that_somebody_moved_away_is_begun_anew(make_log: Made, tmp_path: Path) -> None:
    log = make_log()
    say(log, "one")
    (tmp_path / "c.log").rename(tmp_path / "c.log.1")
    say(log, "two")

    assert found(tmp_path) == {"c.log": "two\n", "c.log.1": "one\n"}


def test_others_cannot_read_it_and_its_directory_is_made(make_log: Made, tmp_path: Path) -> None:
    say(make_log(name="log/new/c.log"), "x")

    assert (tmp_path / "log/new/c.log").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "log/new").stat().st_mode & 0o007 == 0


def test_whoever_closes_all_handlers_ends_nothing(make_log: Made, tmp_path: Path) -> None:
    log = make_log()
    log.close()
    say(log, "still there")

    assert found(tmp_path) == {"c.log": "still there\n"}


def test_on_a_full_disk_it_says_so_once_and_leaves_no_half_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "small", "size=16k") as small:
        log = LogFile(small / "c.log", parse_rotation("1 GB"), parse_retention("9 files"))
        say(log, "first")
        for _ in range(3):
            say(log, "x" * 100_000)
        assert (small / "c.log").read_text() == "first\n"
        assert capsys.readouterr().err == (
            f"the log cannot be written to {small / 'c.log'}: No space left on device\n"
        )
        remount(small, "size=1m")
        say(log, "y" * 50_000)
        assert (small / "c.log").read_text() == f"first\n{'y' * 50_000}\n"
        log.close()
