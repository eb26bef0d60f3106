"""What a command says arrives, or it says why not, wherever its streams lead."""

import os
import pty
import subprocess
from collections.abc import Sequence

import pytest

from tests.acceptance._helpers.command import COMMAND, Answer, Desk, archived

FULL = "Error: standard output cannot be written: No space left on device\n"
CSV = ("query", "files", "--format", "csv")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return archived(tmp_path_factory.mktemp("desk"))


def led(redirection: str, desk: Desk, *arguments: str, encoding: str = "utf-8") -> Answer:
    """A command started by a shell that leads its streams elsewhere."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, *arguments],
        cwd=desk.directory,
        env={**desk.environment(), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    out, err = (
        said.decode("latin-1" if encoding == "latin-1" else "utf-8") for said in (done.stdout, done.stderr)
    )
    assert "Traceback" not in err, err
    return Answer(done.returncode, out, err)


def on_a_terminal(desk: Desk, *arguments: str, **environment: str) -> str:
    terminal, theirs = pty.openpty()
    try:
        subprocess.run(
            [*COMMAND, *arguments],
            cwd=desk.directory,
            env={**desk.environment(), "TERM": "xterm", **environment},
            stdout=theirs,
            stderr=theirs,
            check=True,
        )
        return os.read(terminal, 1 << 16).decode()
    finally:
        os.close(terminal)
        os.close(theirs)


@pytest.mark.parametrize("arguments", [("--help",), ("query", "files"), CSV], ids=" ".join)
def test_a_full_standard_output_is_said_in_a_sentence(filled: Desk, arguments: Sequence[str]) -> None:
    assert led(">/dev/full", filled, *arguments) == Answer(1, "", FULL)


def test_what_standard_error_does_not_take_changes_no_exit_code(filled: Desk) -> None:
    assert led("2>/dev/full", filled, "query", "nothing").code == 2
    assert led("2>&-", filled, "reconcile", "delivery").code == 0


def test_what_a_closed_standard_output_would_have_got_goes_nowhere(filled: Desk) -> None:
    assert led(">&-", filled, *CSV) == Answer(0, "", "")


def test_where_the_current_directory_was_removed_a_path_cannot_be_relative(filled: Desk) -> None:
    gone = f'mkdir gone && cd gone && rmdir ../gone && {COMMAND[0]} "$@"'
    done = subprocess.run(
        ["sh", "-c", gone, "sh", *COMMAND[1:], "status"],
        cwd=filled.directory,
        env=filled.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: the current directory was removed; change to one that is there\n"


def test_characters_that_an_encoding_lacks_are_escaped(filled: Desk) -> None:
    story = led("", filled, "explain", "umlaut-ä", encoding="latin-1").out
    assert "group umlaut-ä of watch incoming" in story
    assert r"detected \u2192 waiting" in story


def test_where_nobody_chose_an_encoding_it_is_utf_8(filled: Desk) -> None:
    assert "umlaut-ä" in led("", filled, *CSV, encoding="ascii").out


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_colour_is_for_terminals_and_people_who_want_it(filled: Desk, environment: dict[str, str]) -> None:
    assert "\x1b[" in on_a_terminal(filled, "check", "config")
    assert "\x1b[" not in on_a_terminal(filled, "check", "config", **environment)
