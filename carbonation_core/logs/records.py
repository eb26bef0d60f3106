"""The log: its levels, what its lines are about, and the two forms of a line.

Modules log by `logging.getLogger(__name__)`; a program of ours calls `begin`
once. Who uses the core as a library configures logging as it likes.
"""

import json
import logging
import re
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, Literal

from carbonation_core.text import printable

TRACE, SUCCESS = 5, 25
logging.addLevelName(TRACE, "TRACE")
logging.addLevelName(SUCCESS, "SUCCESS")

ABOUT = ("watch", "group_key", "run_id")
HIDDEN = "***"
_NAME = "carbonation"  # of the handler that `begin` set
# What these tell of themselves is no news of a file: it shows one level further down.
CHATTY = frozenset(
    ("amqp", "asyncio", "celery", "dagster", "dagster-webserver", "grpc", "kombu", "urllib3", "uvicorn")
)
# Says at each question that it looked, which only TRACE wants to hear.
TALKATIVE = "alembic"
_URL_PASSWORD = re.compile(r"(://[^\s:/@]*):[^\s/]+@")

log = logging.getLogger(__name__)
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


@contextmanager
def about(
    watch: str | None = None, group_key: str | None = None, run_id: str | None = None
) -> Iterator[None]:
    """Lines logged inside bear these, and what they were about before."""
    before = _about.get()
    more = {"watch": watch, "group_key": group_key, "run_id": run_id}
    _about.set({**before, **{key: value for key, value in more.items() if value is not None}})
    try:
        yield
    finally:
        # Not by a token, which fits no other context: generators may be closed in one.
        _about.set(before)


class About(logging.Filter):
    """Stamps records with what they are about, in the thread that logs them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """True; a record that knows better is left as it is."""
        for key, value in _about.get().items():
            record.__dict__.setdefault(key, value)
        return True


class AtLeast(logging.Filter):
    """Lets pass what is of a level or above it; chatty libraries must have more to say."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level, self._of_chatty = level, of_chatty(level)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is wanted."""
        name = record.name.partition(".")[0]
        if name == TALKATIVE:
            return record.levelno >= (logging.INFO if self._level <= TRACE else logging.WARNING)
        return record.levelno >= (self._of_chatty if name in CHATTY else self._level)


def of_chatty(level: int) -> int:
    """The level from which on chatty libraries are heard."""
    return {TRACE: logging.DEBUG, logging.DEBUG: logging.INFO}.get(level, max(level, logging.WARNING))


class Form(logging.Formatter):
    """What both forms of a line share: its words, without secrets, and what it is about."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        super().__init__()
        # Where a secret is part of a longer word it is a coincidence.
        words = (rf"(?<!\w){re.escape(secret)}(?!\w)" for secret in sorted(secrets, key=len, reverse=True))
        self._secret = re.compile("|".join(words)) if secrets else None

    def message(self, record: logging.LogRecord) -> str:
        """The message."""
        return self._without_secrets(record.getMessage())

    def exception(self, record: logging.LogRecord) -> str | None:
        """The traceback, if there is one; Python's own form has no values of variables."""
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        return self._without_secrets(record.exc_text) if record.exc_text else None

    def _without_secrets(self, text: str) -> str:
        text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
        return self._secret.sub(HIDDEN, text) if self._secret else text


class TextForm(Form):
    """A line for people: time, level, logger, message, and in brackets what it is about.

    Further lines of a record are indented, so that a record begins where a line
    does not begin with a blank, whatever a file is called.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        told = [f"{key} {record.__dict__[key]}" for key in ABOUT if record.__dict__.get(key)]
        text = self.message(record) + (f" [{', '.join(told)}]" if told else "")
        if exception := self.exception(record):
            text = f"{text}\n{exception}"
        first, *others = (printable(line) for line in text.splitlines() or [""])
        head = f"{_time(record)} {record.levelname:<8} {record.name}: {first}"
        return "\n    ".join([head, *others])


class JsonForm(Form):
    """A JSON object in one line of ASCII; a traceback is its `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": self.message(record),
        }
        line |= {key: record.__dict__[key] for key in ABOUT if record.__dict__.get(key)}
        if exception := self.exception(record):
            line["exception"] = exception
        return json.dumps(line, default=str)


def form(kind: Literal["text", "json"], secrets: Collection[str]) -> Form:
    """The form of that name; each of `secrets` is hidden wherever it appears as a word."""
    return JsonForm(secrets) if kind == "json" else TextForm(secrets)


def from_json(line: str) -> logging.LogRecord | None:
    """The record that `JsonForm` made this line of; None if it is no such line."""
    if not line.startswith("{"):
        return None
    try:
        told = json.loads(line)
        return logging.makeLogRecord(
            {
                "name": str(told["logger"]),
                "levelname": told["level"],
                "levelno": level_number(told["level"]),
                "created": datetime.fromisoformat(told["time"]).timestamp(),
                "msg": str(told["message"]),
                "exc_text": told.get("exception"),
                **{key: told[key] for key in ABOUT if key in told},
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def level_number(name: str) -> int:
    """The number of a level; raises `KeyError` for a name that is none."""
    return logging.getLevelNamesMapping()[name]


class ToStandardError(logging.Handler):
    """Writes to what is standard error at that moment, a record in one piece."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; nothing is said of a standard error that is gone."""
        try:
            line = self.format(record)
        except (TypeError, ValueError):  # the record does not fit its own format
            self.handleError(record)
            return
        with suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def begin(level: int, handler: logging.Handler) -> None:
    """Let everything from `level` on go to `handler`, and to none that an earlier call named.

    Python's warnings and exceptions that nobody caught are lines of the log, too.
    """
    root = logging.getLogger()
    for other in [one for one in root.handlers if one.name == _NAME]:
        root.removeHandler(other)
    handler.name = _NAME
    handler.addFilter(About())
    handler.addFilter(AtLeast(level))
    root.addHandler(handler)
    root.setLevel(level)
    if logging.getLogger("sqlalchemy").level == logging.NOTSET:
        # Else it would tell every statement from DEBUG on; `echo` asks for that.
        logging.getLogger("sqlalchemy").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def begun() -> logging.Handler | None:
    """The handler of this process's log, if it has begun."""
    return next((one for one in logging.getLogger().handlers if one.name == _NAME), None)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.critical("ended by a fault of its own: %s", _named(error), exc_info=(kind, error, trace))


def _uncaught_in_thread(fault: threading.ExceptHookArgs) -> None:
    name, error = fault.thread.name if fault.thread else "a thread", fault.exc_value
    if error is not None:
        trace = (fault.exc_type, error, fault.exc_traceback)
        log.critical("%s ended by a fault of its own: %s", name, _named(error), exc_info=trace)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
