"""`carbonation query files`."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests import databases
from tests.acceptance._helpers.command import COMMAND, TOGETHER, Answer, Desk, new_desk

pytestmark = [TOGETHER, databases.one]  # options and forms; filters are stated in core/db

FOUND = [
    ("--instrument lidar", ["run1", "run2"]),
    ("--instrument lidar --instrument radar", ["run1", "run2", "run3"]),
    ("--instrument %dar", ["run1", "run2", "run3"]),
    ("--quality-min 0.2 --quality-max 0.3", ["run2", "run3"]),
    ("--start-after 2026-01-03", ["run3", "umlaut-ä"]),
    ("--start-before 2026-01-02T12:00", ["run1", "run2"]),
    ("--start 2026-01-02", ["run2"]),
    ("--daterange 2026-01-02/2026-01-03", ["run2", "run3"]),
    ("--daterange 2026-01-04/", ["umlaut-ä"]),
    ("--daterange /2026-01-01", ["run1"]),
    ("--daterange 2026-01-02", ["run2"]),
    ("--age 1s", []),
    ("--age 730d", ["run1", "run2", "run3", "umlaut-ä"]),
    ("--group-key run1 --complete --watch-name incoming --created-after 2020-01-01", ["run1"]),
    ("--no-complete", []),
    ("--calibrated", []),
    ("--type anything", []),
    ("--order-by -start --limit 2", ["umlaut-ä", "run3"]),
    ("--order-by instrument,-group_key", ["umlaut-ä", "run2", "run1", "run3"]),
    ("--limit 0", []),
    ("--batch-id nobody", []),
]
MISTAKES = [
    ("--instrumnt x", "No such option"),
    ("--columns nope", 'there is no column "nope"; known: '),
    ("--order-by nope", 'there is no column "nope"; known: '),
    ("--quality-min much", "'much' is not a valid float"),
    ("--start-after yesterday", '"yesterday" should be a date or time such as'),
    ("--daterange /", '"/" has neither a beginning nor an end'),
    ("--daterange 2026-02-01/2026-01-01", "ends before it begins"),
    ("--age soon", '"soon" should be a duration'),
    ("--age 999999999d", "should be more than 0 and at most 36500 days"),
    ("--limit -1", "--limit"),
    ("--format xml", "'table', 'csv', 'json'"),
    ("stray", "unexpected extra argument"),
]


@pytest.fixture(scope="module")
def answers(archive: Desk) -> dict[str, Answer]:
    """What `query files` said to each line of arguments."""
    lines = [line for line, _ in (*FOUND, *MISTAKES)]
    form = ["query", "files", "--format", "json", "--columns", "group_key"]
    return dict(zip(lines, archive.several([*form, *line.split()] for line in lines), strict=True))


@pytest.mark.parametrize(("arguments", "found"), FOUND)
def test_filters_and_order(answers: dict[str, Answer], arguments: str, found: list[str]) -> None:
    answer = answers[arguments]
    assert (answer.code, answer.err) == (0, "")
    keys = [row["group_key"] for row in json.loads(answer.out)]
    assert keys == found if "order" in arguments else sorted(keys) == found


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_wrong_usage_ends_with_2_and_a_sentence(
    answers: dict[str, Answer], arguments: str, message: str
) -> None:
    answer = answers[arguments]
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err


def test_a_count_is_a_number(archive: Desk) -> None:
    assert archive.good("query", "files", "--count", "--limit", "1") == "4\n"
    assert archive.good("query", "files", "--count", "--instrument", "none", "--format", "json") == "0\n"


def test_json_is_valid_also_when_empty(archive: Desk) -> None:
    assert json.loads(archive.good("query", "files", "--format", "json", "--instrument", "none")) == []
    row = json.loads(archive.good("query", "files", "--format", "json", "--group-key", "run1"))[0]
    assert row["start"] == "2026-01-01T12:00:00+00:00"
    assert row["metadata"]["instrument"] == "lidar"
    assert row["complete"] is True


def test_csv_has_its_names_also_when_empty(archive: Desk) -> None:
    columns = ("--columns", "group_key, instrument", "--columns", "calibrated,complete")
    rows = list(csv.reader(io.StringIO(archive.good("query", "files", "--format", "csv", *columns))))
    assert rows[0] == ["group_key", "instrument", "calibrated", "complete"]
    assert ["umlaut-ä", 'a,"b', "", "true"] in rows
    assert archive.good("query", "files", "--format", "csv", *columns, "--limit", "0").count("\n") == 1


def test_a_table_is_plain_and_whole_in_a_pipe(archive: Desk) -> None:
    table = archive.good("query", "files", "--order-by", "id", "--limit", "1")
    heading, row = table.splitlines()
    assert "\x1b" not in table
    assert heading.split()[:3] == ["watch_name", "group_key", "complete"]
    assert "lacks" in heading.split()  # what an archived group came without
    assert "metadata" not in heading
    assert str(archive.directory / "archive") in row


def test_colour_is_for_terminals(archive: Desk) -> None:
    ours, theirs = pty.openpty()
    subprocess.run(
        [*COMMAND, "query", "files", "--limit", "1"],
        cwd=archive.directory,
        env={**archive.environment(), "TERM": "xterm"},
        stdout=theirs,
        check=True,
    )
    os.close(theirs)
    assert b"\x1b[1m" in os.read(ours, 100_000)
    os.close(ours)


def test_help_has_the_plugins_columns(archive: Desk) -> None:
    text = archive.good("query", "files", "--help")
    assert "--instrument" in text
    assert "--daterange" in text
    assert "--batch-id" not in text


def test_help_without_a_project_says_what_is_not_shown(tmp_path: Path) -> None:
    text = Desk(tmp_path).good("query", "files", "--help")
    assert "--group-key" in text
    assert "--instrument" not in text
    assert "config.toml: there is no such file" in " ".join(text.split())


def test_a_fault_of_the_configuration_comes_before_one_of_the_options(tmp_path: Path) -> None:
    assert "there is no such file" in Desk(tmp_path).wrong("query", "files", "--instrument", "x", code=1)


def test_a_database_that_is_not_initialised_is_a_sentence_and_not_made(desk: Desk) -> None:
    assert "run: carbonation db init" in desk.wrong("query", "files", code=1)
    assert not (desk.directory / "carbonation.db").exists()


def test_columns_called_as_options_are_get_another_name(tmp_path: Path) -> None:
    desk = new_desk(tmp_path)
    model = tmp_path / "my_plugin" / "model.py"
    clash = "    format: Mapped[str | None]\n    limit: Mapped[int | None]\n    count: Mapped[bool | None]\n"
    model.write_text(model.read_text() + clash)
    text = desk.good("query", "files", "--help")
    assert all(
        name in text for name in ("--by-format", "--by-limit", "--limit-min", "--by-count / --no-by-count")
    )


def test_a_reader_that_goes_away_is_no_fault(archive: Desk) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(map(_quoted, COMMAND))} query files --format csv | head -c 1"],
        cwd=archive.directory,
        env=archive.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("i", "")


def _quoted(word: str) -> str:
    return f'"{word}"'


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("query", "files", "--count"),
        ("status",),
        ("retry",),
        ("db", "status"),
        ("check", "config"),
    ],
)
def test_no_command_but_run_waits_for_dagster(archive: Desk, arguments: tuple[str, ...]) -> None:
    script = (
        "import sys; from carbonation_dagster.cli import main\n"
        f"try: main({list(arguments)!r})\n"
        "except SystemExit: pass\n"
        "assert 'dagster' not in sys.modules and 'rich' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=archive.directory,
        env=archive.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
