"""How large Dagster's own storage grows: 1,000,000 files archived in batches, and what purging them takes.

A pass archives some batches. Dagster's rows of their runs are then copied, under
ids of their own, until there are as many runs as the files would make.
"""

import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg

from carbonation_core.config.loading import load_config
from carbonation_core.db.clock import utc_now
from carbonation_dagster.defs.naming import Names
from carbonation_dagster.defs.runs import Ours, delete_old_runs
from tests.bench.processes import alone
from tests.bench.project import project
from tests.bench.table import Row

FILES = 1_000_000
GROUP = 500  # groups_per_run's default; as if each group were one file
REAL = 4  # batches that are archived
DELETED = 50  # runs that are deleted, to time it
TABLES = {"runs.db": ("runs", "run_tags"), "event_log.db": ("event_logs", "asset_check_executions")}


def storage(full: bool) -> Iterator[Row]:
    """Bytes of the SQLite storage, and how long it takes to forget a run."""
    if not full:
        return
    with project() as bench:
        bench.deliver(REAL * GROUP)
        bench.carbonation("run", "--once")
        home = bench.directory / ".dagster"
        few = size(home)
        multiply(home / "history", FILES // GROUP)
        work = f"Dagster's storage after {FILES // GROUP:,} runs of {GROUP} groups"
        yield Row(work, size(home) / 1e6, "MB", few / 1e6, f"{REAL} runs", 300)
        yield Row("to purge a run from it", 1000 * alone(purge, bench.config, home), "ms")


def multiply(history: Path, runs: int) -> None:
    """Copies of the runs that are there, until there are so many."""
    with sqlite3.connect(history / "runs.db") as database:
        there = [row[0] for row in database.execute("SELECT run_id FROM runs")]
    copies = [(there[number % len(there)], str(uuid.uuid4())) for number in range(runs - len(there))]
    for file, tables in TABLES.items():
        database = sqlite3.connect(history / file)
        for table in tables:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
            values = ", ".join(
                f"CASE typeof({name}) WHEN 'text' THEN replace({name}, :old, :new) ELSE {name} END"
                for name in columns
            )
            database.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) "
                f"SELECT {values} FROM {table} WHERE run_id = :old",
                [{"old": old, "new": new} for old, new in copies],
            )
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()


def size(home: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())


def purge(config: Path, home: Path) -> float:
    """Seconds a run."""
    os.environ.pop("DAGSTER_HOME", None)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        ours = Ours(Names(), load_config(config))
        asked = iter(range(DELETED))
        began = time.perf_counter()
        deleted = delete_old_runs(
            instance, ours, utc_now() + timedelta(days=1), stop=lambda: next(asked, None) is None
        )
        return (time.perf_counter() - began) / deleted
