"""What Dagster's processes write, as records: samples of what they really wrote."""

import logging
import traceback
from textwrap import dedent

import dagster as dg
import pytest
from dagster._core.errors import DagsterCodeLocationNotFoundError, DagsterExecutionInterruptedError
from dagster._core.workspace.context import WorkspaceProcessContext

from carbonation_core.logs.records import JsonForm
from carbonation_dagster.defs.messages import WHAT_TO_DO
from carbonation_dagster.logs.lines import WITHIN, Lines, Repeats

RUN = "f42a739f-2a76-45c3-913e-ad7d8aeebdd8"
STEP_FAILURE = f"""\
2026-11-25 17:18:47 +0000 - dagster - ERROR - watch_incoming - {RUN} - 2776 - incoming__catalog.archive \
- STEP_FAILURE - Execution of step "incoming__catalog.archive" failed.

dagster._core.definitions.events.Failure: the group failed: a: extractor "sidecar" raised ValueError: x

Stack Trace:
  File "/site-packages/dagster/_core/execution/plan/execute_plan.py", line 243, in dagster_event_sequence
    yield from check.generator(step_events)

"""
TICK_FAILURE = """\
\x1b[32m2026-11-25 17:19:00 +0000\x1b[0m - dagster.daemon.SensorDaemon - \x1b[34mERROR\x1b[0m - \
\x1b[31mSensor daemon caught an error for sensor watch_incoming\x1b[0m
Traceback (most recent call last):
  File "/site-packages/dagster/_daemon/sensor.py", line 649, in _process_tick_generator
    yield from _evaluate_sensor(
dagster._core.errors.DagsterUserCodeProcessError: dagster._core.errors.SensorExecutionError: Error occurred

Stack Trace:
  File "/site-packages/dagster/_grpc/impl.py", line 401, in get_external_sensor_execution
    with user_code_error_boundary(

The above exception was caused by the following exception:
{error}

Stack Trace:
  File "/site-packages/dagster/_core/errors.py", line 279, in user_code_error_boundary
    yield

"""
CRASH = dedent("""\
    Traceback (most recent call last):
      File "<string>", line 1, in <module>
    ZeroDivisionError: division by zero

    During handling of the above exception, another exception occurred:

    Traceback (most recent call last):
      File "<string>", line 3, in <module>
    RuntimeError: oh
""")


def records(text: str, level: int = logging.INFO) -> list[logging.LogRecord]:
    lines = Lines("daemon", level)
    return [*lines.feed(text.encode()), *lines.end()]


def messages(text: str) -> list[tuple[str, str, str]]:
    return [(record.name, record.levelname, record.getMessage()) for record in records(text)]


def test_a_run_in_which_groups_failed_is_a_sentence_with_its_run() -> None:
    (record,) = records(STEP_FAILURE)

    assert record.getMessage() == 'the group failed: a: extractor "sidecar" raised ValueError: x'
    assert (record.levelname, record.__dict__["run_id"], record.exc_text) == ("ERROR", RUN, None)


def test_a_run_in_which_groups_failed_adds_no_line_to_theirs() -> None:
    (record,) = records(STEP_FAILURE.replace("ValueError: x", f"ValueError: x. {WHAT_TO_DO}"))

    assert (record.levelname, record.__dict__["run_id"]) == ("DEBUG", RUN)


def test_what_the_user_can_mend_is_a_sentence_when_a_tick_fails_by_it() -> None:
    sentence = "/data/incoming: cannot be looked at: No such file or directory"
    error = f"carbonation_core.errors.ScanError: {sentence}"
    (record,) = records(TICK_FAILURE.format(error=error))

    assert record.getMessage() == sentence
    assert (record.name, record.levelname) == ("dagster.daemon.SensorDaemon", "ERROR")
    assert record.exc_text is None


@pytest.mark.parametrize(
    "error", ["KeyError: 'x'", "carbonation_core.errors.IllegalTransition: archived cannot be detected"]
)
def test_a_fault_of_our_own_keeps_its_stack(error: str) -> None:
    (record,) = records(TICK_FAILURE.format(error=error))

    assert record.exc_text is not None
    assert error in record.exc_text
    assert record.getMessage().startswith("Sensor daemon caught an error for sensor watch_incoming")


def test_of_the_steps_that_come_after_a_failed_one_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    @dg.op
    def first() -> int:
        raise ValueError("it is broken")

    @dg.op
    def second(before: int) -> None:
        """Never comes to it."""

    @dg.job
    def two_steps() -> None:
        second(first())

    two_steps.execute_in_process(raise_on_error=False)
    told = [record for record in records(capfd.readouterr().err) if record.levelno > logging.DEBUG]

    failed = [record.getMessage() for record in told if "second" in record.getMessage()]
    assert failed == []
    assert any("it is broken" in record.getMessage() for record in told)


def test_a_run_that_is_interrupted_says_so_once_and_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    @dg.op
    def interrupted() -> None:
        raise DagsterExecutionInterruptedError

    @dg.job
    def one_step() -> None:
        interrupted()

    with pytest.raises(DagsterExecutionInterruptedError):
        one_step.execute_in_process()
    told = [record for record in records(capfd.readouterr().err) if record.levelno > logging.DEBUG]

    (record,) = [record for record in told if "interrupted" in record.getMessage()]
    assert (record.levelname, record.exc_text) == ("INFO", None)
    assert record.getMessage() == "the run was interrupted"
    assert record.__dict__["run_id"]


def test_a_code_server_that_is_away_is_a_sentence() -> None:
    (told,) = records(f"""\
{TICK_FAILURE.splitlines()[0]}
dagster._core.errors.DagsterUserCodeUnreachableError: \
Could not reach user code server. gRPC Error code: UNAVAILABLE

Stack Trace:
  File "/site-packages/dagster/_grpc/client.py", line 175, in _query
    self._raise_grpc_exception(

""")
    assert (told.levelname, told.exc_text) == ("ERROR", None)
    assert told.getMessage() == "Could not reach user code server. gRPC Error code: UNAVAILABLE"


def test_a_tick_that_an_ending_daemon_did_not_begin_is_no_error() -> None:
    with (
        dg.instance_for_test() as instance,
        WorkspaceProcessContext(instance, None) as workspace,
        pytest.raises(DagsterCodeLocationNotFoundError) as raised,
    ):
        workspace.create_request_context().get_code_location("carbonation")
    stack = "".join(traceback.format_exception(raised.value))

    (told,) = records(f"{TICK_FAILURE.splitlines()[0]}\n{stack}")

    assert (told.levelname, told.exc_text) == ("INFO", None)
    assert told.getMessage() == "a tick was not begun, since the daemon ends"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("sqlite3.OperationalError: disk I/O error", "disk I/O error"),
        ("sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) disk I/O error", "disk I/O error"),
        (
            "psycopg2.OperationalError: connection to server at "
            '"127.0.0.1", port 5432 failed: Connection refused',
            'connection to server at "127.0.0.1", port 5432 failed: Connection refused',
        ),
    ],
)
def test_a_storage_that_cannot_be_used_is_a_sentence(error: str, sentence: str) -> None:
    (told,) = records(TICK_FAILURE.format(error=error))
    assert (told.levelname, told.exc_text) == ("ERROR", None)
    assert told.getMessage() == (
        f"Sensor daemon caught an error for sensor watch_incoming: Dagster's storage: {sentence}"
    )


def test_what_dagster_could_not_keep_of_a_run_is_a_sentence() -> None:
    (told,) = records(
        "Exception while writing logger call to event log: "
        "(sqlite3.OperationalError) database or disk is full\n"
        "[SQL: INSERT INTO event_logs (run_id) VALUES (?)]\n"
        "(Background on this error at: https://sqlalche.me/e/20/e3q8)\n"
    )
    assert (told.levelname, told.getMessage()) == (
        "WARNING",
        "Exception while writing logger call to event log: Dagster's storage: database or disk is full",
    )


def test_a_thread_that_ended_by_it_is_a_sentence() -> None:
    ended = "grpc-server-cleanup ended by a fault of its own"
    fault = "OperationalError: (sqlite3.OperationalError) disk I/O error"
    record = logging.makeLogRecord(
        {
            "name": "carbonation_core.logs.records",
            "levelname": "CRITICAL",
            "msg": f"{ended}: {fault}\n(more)",
            "exc_text": f"Traceback …\nsqlalchemy.exc.{fault}",
        }
    )
    (told,) = records(JsonForm().format(record) + "\n")

    assert (told.levelname, told.exc_text) == ("CRITICAL", None)
    assert told.getMessage() == f"{ended}: Dagster's storage: disk I/O error"


def test_a_fault_in_a_statement_keeps_its_stack() -> None:
    (told,) = records(TICK_FAILURE.format(error="sqlite3.OperationalError: no such column: x"))
    assert told.exc_text


def test_a_crash_is_one_record() -> None:
    (record,) = records(CRASH, logging.WARNING)

    assert (record.name, record.levelname) == ("daemon", "ERROR")
    assert record.getMessage() == "RuntimeError: oh"
    assert record.exc_text == CRASH.rstrip()


def test_text_without_any_form_has_the_level_of_its_stream() -> None:
    assert messages("printed\n\nmore\r\nand no end") == [
        ("daemon", "INFO", "printed"),
        ("daemon", "INFO", "more"),
        ("daemon", "INFO", "and no end"),
    ]


def test_what_is_printed_after_a_line_of_dagster_that_is_no_warning_is_not_taken_for_part_of_it() -> None:
    line = f"2026-11-25 17:18:08 +0000 - dagster - INFO - job - {RUN} - step - main: all is well\n"

    assert messages(f"{line}printed\n") == [
        ("dagster", "INFO", "step - main: all is well"),
        ("daemon", "INFO", "printed"),
    ]


@pytest.mark.parametrize(
    ("line", "name", "level", "message"),
    [
        ("WARNING:  Invalid HTTP request received.", "uvicorn", "WARNING", "Invalid HTTP request received."),
        ("ERROR:    [Errno 98] address in use", "uvicorn", "ERROR", "[Errno 98] address in use"),
        (
            "E0000 00:00:1732555123.456789    4242 server.cc:12] no",
            "grpc",
            "ERROR",
            "server.cc:12] no",
        ),
        (
            "/lib/x.py:3: DeprecationWarning: old",
            "py.warnings",
            "WARNING",
            "/lib/x.py:3: DeprecationWarning: old",
        ),
    ],
)
def test_servers_say_their_level(line: str, name: str, level: str, message: str) -> None:
    assert messages(f"{line}\n") == [(name, level, message)]


def test_our_own_records_arrive_as_they_were() -> None:
    line = JsonForm().format(logging.makeLogRecord({"name": "a", "levelname": "SUCCESS", "msg": "x\ny"}))
    (record,) = records(line + "\n")

    assert (record.name, record.levelno, record.getMessage()) == ("a", 25, "x\ny")


def test_it_does_not_matter_how_the_bytes_are_cut() -> None:
    text = STEP_FAILURE + "printed\n" + CRASH
    lines = Lines("daemon", logging.INFO)
    found = [record for byte in text.encode() for record in lines.feed(bytes([byte]))]

    assert [r.getMessage() for r in [*found, *lines.end()]] == [r.getMessage() for r in records(text)]


def warning(message: str, at: float, **more: object) -> logging.LogRecord:
    return logging.makeLogRecord({"levelno": logging.WARNING, "msg": message, "created": at, **more})


def test_a_warning_that_repeats_itself_is_written_once_in_a_while_and_says_how_often_it_came() -> None:
    repeats = Repeats()
    told = [warning("gone", at) for at in (0.0, 5.0, 10.0, WITHIN, WITHIN + 1)]

    assert [repeats.is_new(one) for one in told] == [True, False, False, True, False]
    assert told[3].getMessage() == "gone (came 2 times more meanwhile)"


def test_what_is_said_of_something_else_is_no_repetition() -> None:
    repeats = Repeats()

    assert repeats.is_new(warning("gone", 0.0, watch="a"))
    assert repeats.is_new(warning("gone", 0.0, watch="b"))
    assert repeats.is_new(logging.makeLogRecord({"levelno": logging.INFO, "msg": "gone", "created": 0.0}))
    assert repeats.is_new(logging.makeLogRecord({"levelno": logging.INFO, "msg": "gone", "created": 0.0}))
