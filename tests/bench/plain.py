"""The floors: the same work by plain means, as durable."""

import hashlib
import os
import shutil
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.processes import Cost, command

ROUNDS = 3  # the median counts


def seconds(of: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.monotonic()
    of()
    return time.monotonic() - began


def copy(source: Path, target: Path) -> float:
    """Seconds of `cp -r` and `sync`: what a person would do by hand."""

    def by_hand() -> None:
        subprocess.run(["cp", "-r", source, target], check=True)
        os.sync()

    rounds = []
    for _ in range(ROUNDS):
        os.sync()
        rounds.append(seconds(by_hand))
        shutil.rmtree(target)
    return statistics.median(rounds)


def find(directory: Path) -> float:
    """Seconds of `find` with the size and times of every file."""
    return statistics.median(
        command(["find", directory, "-type", "f", "-printf", "%s %T@ %C@ %i\n"]).seconds
        for _ in range(ROUNDS)
    )


def start(imports: str) -> Cost:
    """A process of Python that imports something and ends."""
    import sys

    return command([sys.executable, "-c", f"import {imports}"])


def pair(directory: Path, times: int = 20) -> tuple[float, float]:
    """Seconds, and CPU seconds, to digest, copy, sync and record one pair by plain calls."""
    took, used = [], []
    with (
        TemporaryDirectory(dir=directory) as made,
        closing(sqlite3.connect(Path(made, "plain.db"), isolation_level=None)) as database,
    ):
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE files (path TEXT PRIMARY KEY, digest TEXT, size INTEGER)")
        for number in range(times):
            sources = [Path(made, f"{number}.dat"), Path(made, f"{number}.json")]
            for source, size in zip(sources, (4096, 200), strict=True):
                source.write_bytes(os.urandom(size))
            began, cpu = time.monotonic(), time.process_time()
            database.execute("BEGIN")
            for source in sources:
                _copied(source, source.with_suffix(".copy" + source.suffix), database)
            database.execute("COMMIT")
            took.append(time.monotonic() - began)
            used.append(time.process_time() - cpu)
    return statistics.median(took), statistics.median(used)


def _copied(source: Path, target: Path, database: sqlite3.Connection) -> None:
    content = source.read_bytes()
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    os.write(file, content)
    os.fsync(file)
    os.close(file)
    digest = hashlib.sha256(content).hexdigest()
    database.execute("INSERT INTO files VALUES (?, ?, ?)", (str(target), digest, len(content)))
