"""What Dagster's processes write, as records of the log. Pure: lines in, records out.

Our own code in them sends records as `JsonForm` makes them. Dagster and its
servers write text, each in its way; prints and crashes have no form at all.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from carbonation_core.logs.records import from_json, level_number
from carbonation_core.text import counted

WITHIN = 600.0  # seconds in which a warning that repeats itself is written once
MOST_REMEMBERED = 1000
LONGEST = 1_000_000  # bytes of a line; what has none is cut there

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_DAGSTER = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} - (?P<logger>[\w.-]+) - (?P<level>[A-Z]+) - (?P<text>.*)"
)
_OF_RUN = re.compile(r"[\w.]+ - (?P<run_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}) - (?:\d+ - )?")
_UVICORN = re.compile(r"(?P<level>TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL): +(?P<text>.*)")
_GRPC = re.compile(r"(?P<letter>[IWEF])\d{4} \d\d:\d\d:[\d.]+ +\d+ (?P<text>\S+\] .*)")
_PYTHON_WARNING = re.compile(r"/\S+:\d+: \w*Warning: ")
_CRASH = re.compile(r"Traceback \(most recent call last\):|Fatal Python error: ")
_ERROR = re.compile(r"^[\w.]+(?:Error|Exception|Failure|Exit|Interrupt)\b.*", re.MULTILINE)
# What was caught and told by us is a sentence, whatever stack Dagster adds; so is what
# the user can mend, and a code server that is away. A transition that is not allowed is
# our own fault, and keeps it.
_SENTENCE = re.compile(
    r"^(?:carbonation_core\.errors\.(?!IllegalTransition)\w+|carbonation_dagster\.[\w.]+Error"
    r"|dagster\._core\.(?:definitions\.events\.Failure|errors\.DagsterUserCodeUnreachableError)): "
    r"(?P<sentence>.+?)\s*(?:\n\s*\n|\Z)",
    re.MULTILINE | re.DOTALL,
)
# Storage that is full, gone or not to be reached: no stack says more.
_STORAGE = re.compile(
    r"^(?:(?:sqlalchemy\.exc|sqlite3|psycopg2|pymysql\.err|MySQLdb)\.OperationalError: (?:\([\w.]+\) )?"
    r"|Exception while [\w ]+: \([\w.]+\.OperationalError\) )"
    r"(?P<sentence>disk I/O error|database or disk is full|unable to open database file"
    r"|attempt to write a readonly database|connection to server .+|server closed the connection .+"
    r"|.*(?:Can't connect|Lost connection|gone away).*)",
    re.MULTILINE,
)
# Printed by Dagster, with the statement in lines of its own, when it could not keep what a run said.
_NOT_KEPT = re.compile(
    r"(?P<what>Exception while (?:writing logger call to event log|storing event batch)): "
)
# A daemon that ends empties its workspace while its last ticks are still being taken up.
_ENDING = re.compile(r"^dagster\._core\.errors\.\w+: Location \S+ does not exist in workspace$", re.MULTILINE)
# A run that did not end in time when the service stopped, or that somebody ended; its batch is given back.
_INTERRUPTED = re.compile(r"^dagster\._core\.errors\.DagsterExecutionInterruptedError$", re.MULTILINE)
# Of each later step of a run that failed; the failure itself has its own line.
_NOT_EXECUTED = re.compile(r"- Dependencies for step \S+ .*Not executing\.$")
# Of groups that failed, each of which has its own line already; it is that of a run in Dagster.
_OF_GROUPS = re.compile(r"\. Mend the cause, then re-execute this run from failure")
_LETTERS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}


@dataclass
class _OpenRecord:
    """A record whose lines are still coming."""

    logger: str
    level: int
    run_id: str | None
    lines: list[str]


@dataclass
class Lines:
    """What one process writes to one of its streams; `level` is that of text without any form."""

    part: str
    level: int
    _rest: bytes = b""
    _open: _OpenRecord | None = field(default=None, init=False)

    def feed(self, data: bytes) -> Iterator[logging.LogRecord]:
        """The records that these bytes complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            yield from self._line(_COLOUR.sub("", line.decode(errors="backslashreplace")).rstrip("\r"))

    def pause(self) -> Iterator[logging.LogRecord]:
        """The record that could have had more lines, when none come. A line is never cut by it."""
        if self._open is not None and not self._rest:
            yield _record(self._open)
            self._open = None

    def end(self) -> Iterator[logging.LogRecord]:
        """All that was not complete."""
        if self._rest:
            yield from self.feed(b"\n")
        yield from self.pause()

    @property
    def is_complete(self) -> bool:
        """Whether nothing waits for more."""
        return not self._rest and self._open is None

    def _line(self, line: str) -> Iterator[logging.LogRecord]:
        whole = from_json(line)
        begun = None if whole else self._begun(line)
        if whole is None and begun is None and self._open is not None:
            self._open.lines.append(line)
            return
        if self._open is not None:
            yield _record(self._open)
            self._open = None
        if whole is not None:
            yield _storage_said(whole)
        elif begun is not None and begun.level >= logging.WARNING:
            self._open = begun  # a traceback may follow
        elif begun is not None:
            yield _record(begun)
        elif line.strip():
            yield _record(_OpenRecord(self.part, self.level, None, [line]))

    def _begun(self, line: str) -> _OpenRecord | None:
        """The record that this line begins, if it has one of the known forms."""
        if match := _DAGSTER.fullmatch(line):
            run = _OF_RUN.match(match["text"])
            text = match["text"][run.end() :] if run else match["text"]
            return _OpenRecord(match["logger"], _level(match["level"]), run and run["run_id"], [text])
        if match := _UVICORN.fullmatch(line):
            return _OpenRecord("uvicorn", _level(match["level"]), None, [match["text"]])
        if match := _GRPC.fullmatch(line):
            return _OpenRecord("grpc", _LETTERS[match["letter"]], None, [match["text"]])
        if _NOT_KEPT.match(line):
            return _OpenRecord(self.part, logging.WARNING, None, [line])
        if _PYTHON_WARNING.match(line):
            return _OpenRecord("py.warnings", logging.WARNING, None, [line])
        # What comes after a line of Dagster's own belongs to that line.
        if self._open is None and _CRASH.match(line):
            return _OpenRecord(self.part, logging.ERROR, None, [line])
        return None


class Repeats:
    """Tells warnings and errors that only repeat, word for word, what was written some minutes ago."""

    def __init__(self) -> None:
        self._written: dict[tuple[object, ...], tuple[float, int]] = {}

    def is_new(self, record: logging.LogRecord) -> bool:
        """Whether to write the record; it then says how often it came since it was written last."""
        if record.levelno < logging.WARNING:
            return True
        told = (getattr(record, name, None) for name in ("watch", "group_key", "run_id"))
        key = (record.name, record.getMessage(), *told)
        at, number = self._written.pop(key, (float("-inf"), 0))
        if 0 <= record.created - at < WITHIN:
            self._written[key] = at, number + 1
            return False
        if number:
            record.msg, record.args = (
                f"{record.getMessage()} (came {counted(number, 'time')} more meanwhile)",
                None,
            )
        if len(self._written) >= MOST_REMEMBERED:
            del self._written[next(iter(self._written))]
        self._written[key] = record.created, 0
        return True


def _record(whole: _OpenRecord) -> logging.LogRecord:
    first, text = whole.lines[0], "\n".join(whole.lines).rstrip()
    level, exception = whole.level, None
    if _ENDING.search(text):
        level, message = logging.INFO, "a tick was not begun, since the daemon ends"
    elif _INTERRUPTED.search(text):
        # A run's failure repeats what its step's has said.
        level = logging.DEBUG if first.startswith("RUN_FAILURE") else logging.INFO
        message = "the run was interrupted"
    elif _NOT_EXECUTED.search(text):
        level, message = logging.DEBUG, text
    elif match := _SENTENCE.search(text):
        message = match["sentence"]
        level = logging.DEBUG if _OF_GROUPS.search(message) else level
    elif sentence := _of_storage(text):
        not_kept = _NOT_KEPT.match(first)
        message = f"{not_kept['what'] if not_kept else first.rstrip(': ')}: {sentence}"
    elif "Traceback (most" in text or "Stack Trace:" in text:
        errors = _ERROR.findall(text)
        of_itself = _CRASH.match(first) is not None
        message = ": ".join([*([] if of_itself else [first]), *errors[-1:]]) or first
        if not first.startswith("RUN_FAILURE"):
            exception = text if of_itself else text.partition("\n")[2].strip("\n")
    else:
        message = text
    values = {"name": whole.logger, "levelno": level, "msg": message, "exc_text": exception}
    if whole.run_id:
        values["run_id"] = whole.run_id
    return logging.makeLogRecord({**values, "levelname": logging.getLevelName(level)})


def _storage_said(record: logging.LogRecord) -> logging.LogRecord:
    """A record of ours; a thread of Dagster's may have ended since its storage could not be used."""
    if sentence := _of_storage(record.exc_text or ""):
        record.msg, record.exc_text = f"{str(record.msg).partition(':')[0]}: {sentence}", None
    return record


def _of_storage(text: str) -> str | None:
    match = _STORAGE.search(text)
    return f"Dagster's storage: {match['sentence']}" if match else None


def _level(name: str) -> int:
    try:
        return level_number(name)
    except KeyError:
        return logging.INFO
