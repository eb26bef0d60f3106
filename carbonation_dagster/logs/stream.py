"""The service's one log: what its front process and all its parts say, in one form and one order.

Each stream of a part is a socket, as systemd's journal has them: the kernel
says with each piece which process wrote it, so that lines of several processes
never mix, and reading never waits for the disk that the log lies on.
"""

import copy
import logging
import logging.handlers
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from carbonation_core.config.loading import Config
from carbonation_core.config.toml import place
from carbonation_core.errors import ConfigError
from carbonation_core.logs import records as logs
from carbonation_core.logs.file import LogFile
from carbonation_core.text import counted
from carbonation_dagster.environment import LOG_LEVEL
from carbonation_dagster.logs.lines import Lines, Repeats

MOST_WAITING = 100_000  # records kept while the log cannot be written fast enough
LAST_WORDS = 3.0  # seconds that the end of the log may take
PAUSE = 0.3  # seconds after which a record gets no more lines
UNFINISHED = 10.0  # seconds that a line may take to be ended
_PIECE = 65_536
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid

Listener = logging.handlers.QueueListener


class ServiceLog:
    """Writes to standard error, and to the configured file, until it is closed.

    `level`, `format` and the file are those of `configure`'s last call; raises
    `ConfigError` when the file cannot be opened.
    """

    def __init__(self, config: Config) -> None:
        self._records: queue.Queue[Any] = queue.Queue(MOST_WAITING)
        self._backlog = _Backlog(self._records)
        self._repeats = Repeats()
        self._readers: list[_Reader] = []
        self._handlers: tuple[logging.Handler, ...] = ()
        self._listener: Listener | None = None
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Go on as this configuration says. The parts' level is that with which they began."""
        settings = config.logging
        handlers: list[logging.Handler] = [logs.ToStandardError()]
        if settings.file is not None:
            try:
                handlers.append(LogFile(settings.file, settings.rotation, settings.retention))
            except OSError as error:
                where = place(config.path, "[logging]", "file")
                raise ConfigError(f'{where}: "{settings.file}": {error.strerror}') from None
        for handler in handlers:
            handler.setFormatter(logs.form(settings.format, config.secrets))
        self._stop_writing()
        self._level, self._handlers = settings.level, tuple(handlers)
        self._listener = Listener(self._records, *handlers)
        self._listener.start()
        self._backlog.filters.clear()
        logs.begin(logs.level_number(settings.level), self._backlog)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a part's environment must say."""
        # Without the second, what Python prints would come when its process ends.
        return {LOG_LEVEL: self._level, "PYTHONUNBUFFERED": "1"}

    @property
    def dagster_level(self) -> str:
        """The level that Dagster's own programs are to be started with, as they spell it."""
        least = logs.of_chatty(logs.level_number(self._level))
        return logging.getLevelName(least).lower()

    @contextmanager
    def outlet(self, part: str) -> Iterator[tuple[int, int]]:
        """File descriptors: standard output and standard error for a part's process, started inside.

        What its own children inherit of them is read, too.
        """
        self._readers = [reader for reader in self._readers if reader.is_alive()]
        with self._read(part, logging.INFO) as stdout, self._read(part, logging.WARNING) as stderr:
            yield stdout.fileno(), stderr.fileno()

    @contextmanager
    def _read(self, part: str, level: int) -> Iterator[socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._readers.append(_Reader(part, level, ours, self._log))
        with theirs:
            yield theirs

    def close(self) -> None:
        """Write what was said; to be called when the parts have ended."""
        deadline = time.monotonic() + LAST_WORDS
        for reader in self._readers:
            reader.stop(deadline)
        self._stop_writing()

    def _log(self, record: logging.LogRecord) -> None:
        if self._repeats.is_new(record):
            self._backlog.handle(record)

    def _stop_writing(self) -> None:
        if self._listener is None:
            return
        # It waits for its thread, which may wait for a disk, or for whoever reads standard error.
        stopping = threading.Thread(target=self._listener.stop, name="end of the log", daemon=True)
        stopping.start()
        stopping.join(LAST_WORDS)
        if not stopping.is_alive():
            for handler in self._handlers:
                handler.close()
        self._listener = None


class _Backlog(logging.handlers.QueueHandler):
    """Records that wait to be written. Who logs never waits; what is too much is counted."""

    def __init__(self, records: "queue.Queue[Any]") -> None:
        super().__init__(records)
        self._lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record as it is now, apart from its traceback."""
        prepared = copy.copy(record)
        prepared.msg, prepared.args = record.getMessage(), None
        if record.exc_info:
            prepared.exc_text, prepared.exc_info = logging.Formatter().formatException(record.exc_info), None
        return prepared

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put it behind the others, if there is room."""
        try:
            if self._lost:
                lost = logging.makeLogRecord(
                    {
                        "name": __name__,
                        "levelno": logging.WARNING,
                        "levelname": "WARNING",
                        "msg": f"{counted(self._lost, 'line')} lost, as the log could not be written in time",
                    }
                )
                self.queue.put_nowait(lost)
                self._lost = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self._lost += 1


class _Reader(threading.Thread):
    """Reads a stream of a part, and of all processes that inherit it, until each has closed it."""

    def __init__(self, part: str, level: int, stream: socket.socket, log: Any) -> None:
        super().__init__(name=f"log of the {part}", daemon=True)
        self._part, self._level, self._stream, self._log = part, level, stream, log
        self._processes: dict[int, tuple[Lines, float]] = {}
        self._stopping = False
        stream.settimeout(PAUSE)
        self.start()

    def run(self) -> None:
        """Read."""
        with self._stream:
            while True:
                try:
                    data, process = self._receive()
                except TimeoutError:
                    if self._stopping:
                        break
                else:
                    if not data:
                        break
                    self._take(data, process)
                self._end_silent(time.monotonic())
            self._end_silent(float("inf"))

    def stop(self, deadline: float) -> None:
        """End at the next pause, whoever still holds the stream."""
        self._stopping = True
        self.join(max(0.0, deadline - time.monotonic()))

    def _receive(self) -> tuple[bytes, int]:
        data, ancillary, _, _ = self._stream.recvmsg(_PIECE, socket.CMSG_SPACE(_CREDENTIALS.size))
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                return data, int(_CREDENTIALS.unpack(value)[0])
        return data, 0

    def _take(self, data: bytes, process: int) -> None:
        lines, _ = self._processes.get(process) or (Lines(self._part, self._level), 0.0)
        for record in lines.feed(data):
            self._log(record)
        if lines.is_complete:
            self._processes.pop(process, None)
        else:
            self._processes[process] = lines, time.monotonic()

    def _end_silent(self, now: float) -> None:
        """Log what was begun by those who write no more."""
        for process, (lines, at) in list(self._processes.items()):
            silent = now - at
            ended = lines.end() if silent > UNFINISHED else lines.pause() if silent > PAUSE else ()
            for record in ended:
                self._log(record)
            if lines.is_complete:
                del self._processes[process]
