"""`carbonation reconcile archive`, in a process of its own."""

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import databases
from tests.acceptance._helpers.command import COMMAND, TOGETHER, Desk, deliver, new_desk, one_pass

pytestmark = [TOGETHER, databases.one]  # arguments and sentences


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Two archived pairs."""
    desk = new_desk(tmp_path)
    desk.good("db", "init")
    deliver(desk, "run1", "lidar", 1)
    deliver(desk, "run2", "lidar", 2)
    one_pass(desk)
    return desk


def path_of(desk: Desk, name: str) -> Path:
    (path,) = (desk.directory / "archive").rglob(name)
    return path


def table(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()[-2:]]


def test_an_archive_that_agrees_is_a_line(desk: Desk) -> None:
    heading, row = desk.good("reconcile", "archive").splitlines()

    assert heading.split() == ["archive", "compared", "missing", "returned", "still", "missing", "unknown"]
    assert row.split() == ["main", "4", "0", "0", "0", "0"]


def test_a_dry_run_is_a_plan_and_then_it_is_done(desk: Desk) -> None:
    gone, stray = path_of(desk, "run1.dat"), path_of(desk, "run1.dat").with_name("stray.dat")
    gone.unlink()
    stray.touch()

    plan = desk.good("reconcile", "archive", "--dry-run")
    assert plan.splitlines()[:2] == [
        f"would be missing: {gone} (is not there)",
        f"unknown: {stray} (the database knows nothing of it)",
    ]
    done = desk.good("reconcile", "archive", "--workers", "1", "--no-progress")
    assert done.splitlines()[0] == f"missing: {gone} (is not there)"
    assert table(done)[1] == ["main", "4", "1", "0", "0", "1"]
    again = desk.good("reconcile", "archive")
    assert again.splitlines()[0] == f"still missing: {gone} (is not there)"


def test_adopt_registers_what_is_unknown(desk: Desk) -> None:
    directory = path_of(desk, "run1.dat").parent
    shutil.copy(directory / "run1.dat", directory / "run9.dat")
    shutil.copy(directory / "run1.json", directory / "run9.json")

    plan = desk.good("reconcile", "archive", "--adopt", "--dry-run")
    assert plan.count("would be adopted: ") == 2
    done = desk.good("reconcile", "archive", "--adopt", "--watch", "incoming", "--archive", "main")
    assert done.count("adopted: ") == 2
    assert desk.good("query", "files", "--group-key", "run9", "--complete", "--count") == "1\n"
    assert desk.good("query", "files", "--group-key", "run9", "--instrument", "lidar", "--count") == "1\n"


def test_an_archive_that_is_gone_is_an_error_and_changes_nothing(desk: Desk) -> None:
    shutil.rmtree(desk.directory / "archive")

    answer = desk("reconcile", "archive", "--force")

    assert answer.code == 1
    assert answer.err.startswith("error: archive main: base_path")
    assert desk.good("query", "files", "--complete", "--count") == "2\n"


def test_a_mass_loss_is_refused_with_the_way_out(desk: Desk) -> None:
    for number in range(10, 20):
        deliver(desk, f"run{number}", "radar", 3)
    one_pass(desk)
    for number in range(10, 20):
        path_of(desk, f"run{number}.dat").unlink()

    answer = desk("reconcile", "archive")
    assert answer.code == 1
    assert '10 of 24 files of archive "main" would be called missing, more than max_loss' in answer.err
    assert "--force" in answer.err
    assert answer.out.count("would be missing: ") == 10
    assert desk.good("reconcile", "archive", "--force").count("missing: ") == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--archive", "x"), 'there is no archive "x"; known: main'),
        (("--archive", "x", "--archive", "main"), 'there is no archive "x"; known: main'),
        (("--watch", "x"), 'there is no watch "x"; known: incoming'),
        (("--workers", "0"), "0 is not in the range"),
        (("/elsewhere",), '"/elsewhere" lies in no archive'),
        (("typo",), "nothing was archived there"),
    ],
)
def test_what_is_not_there_is_wrong_usage(archive: Desk, arguments: tuple[str, ...], message: str) -> None:
    assert message in archive.wrong("reconcile", "archive", *arguments)


def test_paths_choose_a_part_of_the_archive(archive: Desk) -> None:
    path = path_of(archive, "run1.dat")
    for spelled in (str(path), os.path.relpath(path, archive.directory)):
        assert table(archive.good("reconcile", "archive", spelled, "--dry-run"))[1][1] == "1"
    below = path.relative_to(archive.directory / "archive").parts[0]
    assert int(table(archive.good("reconcile", "archive", below, "--dry-run"))[1][1]) >= 1


BAR = b"main: files compared"


@pytest.mark.parametrize(
    ("words", "bar"),
    [
        (("reconcile", "archive", "--dry-run"), BAR),
        (("reconcile", "archive", "--dry-run", "--no-progress"), None),
        (("reconcile", "delivery"), b"incoming: files looked at"),
        (("check", "rules", "rules.toml"), b"groups tried"),
    ],
)
def test_a_terminal_sees_a_progress_bar(archive: Desk, words: tuple[str, ...], bar: bytes | None) -> None:
    told = on_a_terminal(archive, *words)
    assert bar in told if bar else BAR not in told


def test_on_a_terminal_a_pass_shows_bars_and_a_line_only_for_what_fails(desk: Desk) -> None:
    desk.good("db", "init")
    deliver(desk, "run1", "lidar", 1)
    deliver(desk, "run2", "", 1)  # of no instrument: its extractor raises
    told = on_a_terminal(desk, "run", "--once", code=3)
    assert b"files settled" in told
    assert b"groups done" in told
    assert b"group run1: archived" not in told
    assert b"run2: retry_pending" in told
    assert b"2 groups: " in told


def on_a_terminal(desk: Desk, *words: str, code: int = 0) -> bytes:
    """What a command writes to standard error when that is a terminal."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words],
        cwd=desk.directory,
        env={**desk.environment(), "TERM": "xterm", "COLUMNS": "200"},
        stdout=subprocess.DEVNULL,
        stderr=its,
    )
    os.close(its)
    told = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other side has closed
            break
        if not part:
            break
        told += part
    os.close(ours)
    assert process.wait() == code
    return told
