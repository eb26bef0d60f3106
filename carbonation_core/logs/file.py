"""The log's file: begun anew after a size or a period, and old files kept for a time or up to a number."""

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

FILE_MODE, DIRECTORY_MODE = 0o640, 0o750


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a new file is begun: before it would have more bytes, or when a full period of UTC begins."""

    text: str
    size: int | None = None
    period: timedelta | None = None

    def __str__(self) -> str:
        return self.text

    def is_due(self, size: int, written: datetime, now: datetime) -> bool:
        """Whether a file that would have this size, and was last written then, is to be rotated."""
        if self.period is not None:
            epoch = datetime.fromtimestamp(0, UTC)
            return (written - epoch) // self.period != (now - epoch) // self.period
        return self.size is not None and size > self.size


@dataclass(frozen=True, slots=True)
class Retention:
    """How long old files are kept: until they are older, or until there are more."""

    text: str
    age: timedelta | None = None
    files: int | None = None

    def __str__(self) -> str:
        return self.text


class LogFile(logging.Handler):
    """Appends to a file, for one process.

    Old files bear the time of their last line in UTC, as in
    `carbonation.log.20260301T120000Z`. When somebody moved or removed the file,
    a new one is begun. A line is written whole or not at all; while none can be
    written, standard error says so, once. Raises `OSError` when the file cannot
    be opened.
    """

    def __init__(
        self, path: Path, rotation: Rotation, retention: Retention, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._path, self._rotation, self._retention, self._clock = path, rotation, retention, clock
        self._fails = False
        path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        self._file: int | None = self._opened()
        self._written = self._time_of(os.fstat(self._file))
        self._remove_old()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, to a new file if that is due."""
        try:
            self._append((self.format(record) + "\n").encode(errors="backslashreplace"), self._clock())
        except OSError as error:
            self._say(f"the log cannot be written to {self._path}: {error.strerror}")
        except (TypeError, ValueError):  # the record does not fit its own format
            self.handleError(record)
        else:
            self._fails = False

    def close(self) -> None:
        """Close the file."""
        with self.lock or contextlib.nullcontext():
            if self._file is not None:
                os.close(self._file)
            self._file = None
        super().close()

    def _append(self, line: bytes, now: float) -> None:
        file = self._current()
        size = os.fstat(file).st_size
        if size and self._rotation.is_due(size + len(line), _utc(self._written), _utc(now)):
            self._path.rename(self._name_of_old())
            file, size = self._current(), 0
            self._remove_old()
        try:
            written = 0
            while written < len(line):
                written += os.write(file, line[written:])
        except OSError:
            os.ftruncate(file, size)
            raise
        self._written = now

    def _current(self) -> int:
        """The file of that name, opened anew when it is another one than before."""
        if self._file is not None:
            try:
                there, ours = self._path.stat(), os.fstat(self._file)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return self._file
            except FileNotFoundError:
                pass
            os.close(self._file)
            self._file = None
        self._file = self._opened()
        return self._file

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)

    def _name_of_old(self) -> Path:
        name = f"{self._path.name}.{_utc(self._written):%Y%m%dT%H%M%SZ}"
        target, number = self._path.with_name(name), 1
        while target.exists():
            number += 1
            target = self._path.with_name(f"{name}-{number}")
        return target

    def _remove_old(self) -> None:
        name = re.compile(re.escape(self._path.name) + r"\.\d{8}T\d{6}Z(-\d+)?")
        old = [path for path in self._path.parent.iterdir() if name.fullmatch(path.name)]
        old.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        kept, now = self._retention, _utc(self._clock())
        for number, path in enumerate(old):
            is_too_many = kept.files is not None and number >= kept.files
            is_too_old = kept.age is not None and now - _utc(self._time_of(path.stat())) > kept.age
            if is_too_many or is_too_old:
                path.unlink(missing_ok=True)

    def _time_of(self, found: os.stat_result) -> float:
        """When a file was written, which is never after now; a file system may say any 64 bits of seconds."""
        return max(0.0, min(found.st_mtime, self._clock()))

    def _say(self, fault: str) -> None:
        if not self._fails:
            self._fails = True
            print(fault, file=sys.stderr)  # noqa: T201  # the log is what does not work


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
