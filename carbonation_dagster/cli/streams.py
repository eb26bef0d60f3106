"""Standard streams that take whatever a command has to say, whoever started it and wherever they lead."""

import codecs
import io
import os
import sys
from typing import Any

from carbonation_dagster.cli.fault import Fault


class _Output(io.FileIO):
    """Standard output. That it cannot be written is said once; what comes after that goes nowhere."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:  # whoever reads has read enough; click ends the command without a word
            raise
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            raise Fault(f"standard output cannot be written: {error.strerror}") from None


class _Errors(io.FileIO):
    """Standard error. What it does not take is left unsaid, for there is nobody to say it to."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def prepare() -> None:
    """Have all streams of this process lead somewhere, and what is written go as above.

    One that was closed leads nowhere: else a file that is opened later would get
    its number. Characters that an encoding lacks are escaped; where it is ASCII,
    nobody chose it, and UTF-8 is written.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = _written_by(_Output, sys.stdout, 1)
    sys.stderr = _written_by(_Errors, sys.stderr, 2)


def _written_by(kind: type[io.FileIO], stream: Any, descriptor: int) -> Any:
    if stream is not None and not _leads_to(stream, descriptor):
        return stream  # whoever put it there wants to see what is written, as tests do
    encoding = "utf-8" if stream is None else stream.encoding
    return io.TextIOWrapper(
        io.BufferedWriter(kind(descriptor, "w", closefd=False)),
        encoding="utf-8" if codecs.lookup(encoding).name == "ascii" else encoding,
        errors="backslashreplace",
        line_buffering=stream is not None and stream.line_buffering,
        write_through=stream is not None and stream.write_through,
    )


def _leads_to(stream: Any, descriptor: int) -> bool:
    try:
        return bool(stream.fileno() == descriptor)
    except (AttributeError, OSError, ValueError):
        return False
