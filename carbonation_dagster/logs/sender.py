"""The log of a process that belongs to the service: its records go to the front process."""

import logging
import os
import select
import socket
from collections import deque
from collections.abc import Mapping

from carbonation_core.logs import records
from carbonation_core.text import counted
from carbonation_dagster.environment import LOG_LEVEL

MOST_WAITING = 10_000  # records kept while nobody reads them
LAST_WORDS = 2_000  # milliseconds that sending them may take at the end
_STDERR = 2


def begin_as_part(environment: Mapping[str, str] = os.environ) -> None:
    """Send what this process logs to the service, if it is one of its processes."""
    level = environment.get(LOG_LEVEL)
    if level is not None and not records.begun():
        begin(level)


def begin(level: str) -> None:
    """Send what this process logs to who reads its standard error."""
    handler: logging.Handler
    try:
        # Its own: Dagster may turn standard error to a file while ops run.
        handler = Sender(socket.socket(fileno=os.dup(_STDERR)))
        handler.setFormatter(records.form("json", ()))
    except OSError:  # no socket, so not the service's
        handler = records.ToStandardError()
        handler.setFormatter(records.form("text", ()))
    records.begin(records.level_number(level), handler)
    # Dagster gives its loggers handlers of their own, which would say all twice.
    logging.getLogger("dagster").handlers.clear()


class Sender(logging.Handler):
    """Sends each record at once, as a line. While nobody reads, records wait here, and no work for them."""

    def __init__(self, to: socket.socket) -> None:
        super().__init__()
        self._to = to
        self._waiting: deque[bytes] = deque()
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record, after those that wait."""
        try:
            line = self.format(record)
        except (TypeError, ValueError):  # the record does not fit its own format
            self.handleError(record)
            return
        self._send()
        if len(self._waiting) >= MOST_WAITING:
            self._lost += 1
            return
        if self._lost:
            self._waiting.append(self._line(self._of_loss()))
            self._lost = 0
        self._waiting.append(f"{line}\n".encode())
        self._send()

    def close(self) -> None:
        """Send what waits, if somebody reads soon.

        Not the end: `logging.config` closes all handlers there are when it is used, and alembic uses it.
        """
        while self._waiting and self._is_read(LAST_WORDS):
            self._send()

    def _send(self) -> None:
        while self._waiting:
            line = self._waiting.popleft()
            try:
                # By this flag and not by a timeout, which would be every writer's to this socket.
                sent = self._to.send(line, socket.MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
            except OSError:  # the front process is gone
                self._waiting.clear()
                return
            if sent < len(line):
                self._waiting.appendleft(line[sent:])
                return

    def _is_read(self, milliseconds: int) -> bool:
        poll = select.poll()
        poll.register(self._to, select.POLLOUT)
        return bool(poll.poll(milliseconds))

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode()

    def _of_loss(self) -> logging.LogRecord:
        values = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
        return logging.makeLogRecord(
            {**values, "msg": f"{counted(self._lost, 'line')} lost, as nobody read them"}
        )
