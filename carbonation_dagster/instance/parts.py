"""A part of the service that begins as a fork of a process which has loaded everything.

Code server, daemon and web server load much the same: 100 MB and 1.5 s of CPU for
each that is started by itself. Forks share the pages that none of them writes to.
"""

import logging
import os
import runpy
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carbonation_core.logs import records

LONGEST_NAME = 15  # bytes (proc_pid_comm(5))


@dataclass
class Begins(BaseException):
    """Raised in a process that was just forked, so that nothing of its parent's is under way when it begins.

    `command` follows `python -m`.
    """

    command: Sequence[str]
    directory: str

    @classmethod
    def asked(cls, question: dict[str, Any], streams: Sequence[int]) -> "Begins":
        """What was asked for, with the streams put in place: standard input, output and error."""
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        return cls(question["part"], question["directory"])


def become(part: Begins) -> None:
    """Run the command of a part, in a process that was forked for it, as if it had been started by it."""
    os.setsid()
    os.chdir(part.directory)
    if (handler := records.begun()) is not None:  # it sends to where the parent's words go
        logging.getLogger().removeHandler(handler)
        handler.close()
    with suppress(OSError):  # only for those who look
        _show(part.command)
    sys.argv = [*part.command]
    runpy.run_module(part.command[0], run_name="__main__", alter_sys=True)


def _show(command: Sequence[str]) -> None:
    """Have `ps` show that command, as far as there is room for it where the parent's own stands."""
    # A library for this writes over the environment, too, by which a service knows its processes.
    Path("/proc/self/comm").write_text(command[0].rpartition(".")[2][:LONGEST_NAME], encoding="utf-8")
    # proc_pid_stat(5)
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    shown = "\0".join(["carbonation", *command]).encode()[: end - begin - 1]
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(shown.ljust(end - begin, b"\0"))
