"""What a line of the log says, and which lines there are."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db.engine import make_engine, make_file, writing
from carbonation_core.logs import records
from carbonation_core.logs.records import SUCCESS, TRACE, AtLeast, JsonForm, TextForm, about

ROOT = Path(__file__).parents[3]


class Kept(logging.Handler):
    """Keeps lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


Begin = Callable[..., Kept]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Begins a log that is kept; all is as before when the test ends."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def make(level: int = logging.INFO, form: logging.Formatter | None = None) -> Kept:
        kept = Kept()
        kept.setFormatter(form or JsonForm())
        records.begin(level, kept)
        return kept

    yield make
    logging.captureWarnings(False)
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def record(message: str, **more: Any) -> logging.LogRecord:
    values = {"name": "one", "levelno": 20, "levelname": "INFO", "created": 1767268800.5, "msg": message}
    return logging.makeLogRecord({**values, **more})


def test_a_line_of_json_has_time_level_logger_message_and_what_it_is_about(begin: Begin) -> None:
    kept = begin()
    with about(watch="incoming", run_id="r1"), about(group_key="a/b"):
        logging.getLogger("some.where").warning("%d files", 3)
    logging.getLogger("some.where").info("and now?")

    first, second = map(json.loads, kept.lines)

    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "WARNING",
        "logger": "some.where",
        "message": "3 files",
        "watch": "incoming",
        "run_id": "r1",
        "group_key": "a/b",
    }
    assert second.keys() == {"time", "level", "logger", "message"}


def test_a_line_of_text_says_the_same_to_people() -> None:
    line = TextForm().format(record("found", watch="incoming", group_key="a"))

    assert line == "2026-01-01T12:00:00.500Z INFO     one: found [watch incoming, group_key a]"


def test_only_the_first_line_of_a_record_begins_without_a_blank_whatever_a_file_is_called() -> None:
    line = TextForm().format(record("new\n2026-01-01T12:00:00.500Z INFO     one: forged\x1b[2J"))

    assert line.splitlines()[1:] == ["    2026-01-01T12:00:00.500Z INFO     one: forged\\x1b[2J"]


def test_what_was_written_as_json_is_the_same_record_again() -> None:
    line = JsonForm().format(record("ä\nb", watch="w", exc_text="Traceback: x"))

    again = records.from_json(line)

    assert again is not None
    assert JsonForm().format(again) == line


@pytest.mark.parametrize("line", ["", "{", "[1]", "{}", '{"time": 1}', "null", '{"level": "LOUD"}'])
def test_other_lines_are_no_record(line: str) -> None:
    assert records.from_json(line) is None


def test_secrets_are_hidden_in_message_and_traceback() -> None:
    form = JsonForm(["s3cret", "s3cret.longer"])
    try:
        raise ValueError("with s3cret.longer and postgresql://me:other@host/db")
    except ValueError as error:
        trace = (type(error), error, error.__traceback__)
    line = form.format(record("password s3cret, s3cretariat stays", exc_info=trace))

    told = json.loads(line)
    assert told["message"] == "password ***, s3cretariat stays"
    assert "with *** and postgresql://me:***@host/db" in told["exception"]


def test_a_traceback_has_no_values_of_variables(begin: Begin) -> None:
    kept = begin()
    hidden = "value-of-a-variable"
    try:
        assert not hidden
    except AssertionError:
        logging.getLogger("one").exception("failed")

    assert "assert not hidden" in kept.lines[0]
    told = json.loads(kept.lines[0])["exception"].split("AssertionError")[0]
    assert "value-of-a-variable" not in told


def test_an_error_of_the_database_does_not_tell_what_was_to_be_stored(tmp_path: Path) -> None:
    engine = make_engine(DatabaseSection(name=str(tmp_path / "x.db")))
    make_file(engine)
    with pytest.raises(DBAPIError) as caught, writing(engine) as connection:
        connection.execute(text("insert into nothing values (:value)"), {"value": "hidden"})
    engine.dispose()

    assert "insert into nothing" in str(caught.value)
    assert "hidden" not in str(caught.value).replace("hide_parameters", "").replace("hidden due to", "")


def test_echo_tells_statements_to_the_log_and_nothing_to_standard_output(
    begin: Begin, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_engine = logging.getLogger("sqlalchemy.engine")
    monkeypatch.setattr(of_engine, "level", of_engine.level)
    kept = begin()
    engine = make_engine(DatabaseSection(name=str(tmp_path / "x.db"), echo=True))
    make_file(engine)
    with writing(engine) as connection:
        connection.execute(text("select 1"))
    engine.dispose()
    of_engine.setLevel(logging.NOTSET)

    assert any("select 1" in line for line in kept.lines)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("level", "ours", "of_libraries"),
    [
        (TRACE, ["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING"], ["DEBUG", "INFO", "SUCCESS", "WARNING"]),
        (logging.DEBUG, ["DEBUG", "INFO", "SUCCESS", "WARNING"], ["INFO", "SUCCESS", "WARNING"]),
        (logging.INFO, ["INFO", "SUCCESS", "WARNING"], ["WARNING"]),
        (SUCCESS, ["SUCCESS", "WARNING"], ["WARNING"]),
        (logging.ERROR, [], []),
    ],
)
def test_levels_are_respected_and_chatty_libraries_are_a_level_quieter(
    begin: Begin, level: int, ours: list[str], of_libraries: list[str]
) -> None:
    kept = begin(level)
    for name in ("carbonation_core.x", "dagster.daemon"):
        for number in (TRACE, logging.DEBUG, logging.INFO, SUCCESS, logging.WARNING):
            logging.getLogger(name).log(number, "said")

    told = [(line["logger"], line["level"]) for line in map(json.loads, kept.lines)]
    assert [name for logger, name in told if logger == "carbonation_core.x"] == ours
    assert [name for logger, name in told if logger == "dagster.daemon"] == of_libraries


def test_a_second_log_takes_the_place_of_the_first(begin: Begin) -> None:
    first, second = begin(), begin()
    logging.getLogger("one").info("once")

    assert (len(first.lines), len(second.lines)) == (0, 1)


FAULTS = """
import logging, sys, threading, warnings
from carbonation_core.logs import records
handler = records.ToStandardError()
handler.setFormatter(records.form("json", ()))
records.begin(20, handler)
warnings.warn("old", UserWarning)
thread = threading.Thread(target=lambda: 1 / 0, name="worker")
thread.start()
thread.join()
raise RuntimeError("oh")
"""


def test_warnings_and_exceptions_that_nobody_caught_are_lines_of_the_log() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    warning, thread, last = map(json.loads, done.stderr.splitlines())
    assert (warning["level"], warning["logger"]) == ("WARNING", "py.warnings")
    assert thread["message"] == "worker ended by a fault of its own: ZeroDivisionError: division by zero"
    assert (last["level"], last["message"]) == ("CRITICAL", "ended by a fault of its own: RuntimeError: oh")
    assert last["exception"].startswith("Traceback")


def test_alembic_says_nothing_of_its_looks_at_debug() -> None:
    record = logging.makeLogRecord({"name": "alembic.runtime.migration", "levelno": logging.INFO})
    assert [AtLeast(level).filter(record) for level in (TRACE, logging.DEBUG)] == [True, False]
