"""How large Dagster's own storage grows: 1,000,000 files archived in batches, and what purging them takes.

Run: make bench, or PYTHONPATH=. python tests/bench/growth.py

A few batches are archived for real. Dagster's rows of their runs are then copied,
under ids of their own, until there are as many runs as the files would make.
"""

import os
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg

from carbonation_core.config.loading import load_config
from carbonation_core.db.clock import utc_now
from carbonation_core.pipeline.work import Outcome
from carbonation_core.project import open_project
from carbonation_dagster.defs.naming import Names
from carbonation_dagster.defs.runs import Ours, delete_old_runs
from carbonation_dagster.environment import DAGSTER_HOME
from carbonation_dagster.one_pass import run_pass
from tests.site import PLUGIN, make_site

FILES = 1_000_000
GROUP = 500  # groups_per_run's default; each group is one file
REAL = 4  # batches that are archived
DELETED = 50  # runs that are deleted, to time it
TABLES = {"runs.db": ("runs", "run_tags"), "event_log.db": ("event_logs", "asset_check_executions")}
LIMIT = 300e6  # bytes


def archive_some(directory: Path) -> None:
    """A project, and a pass over it."""
    site = make_site(
        directory,
        '[single]\n[single.metadata]\nextract = "sizes"\n',
        watch={"settle_seconds": "0.1"},
        service={"single_group_runs": "0", "groups_per_run": str(GROUP)},
        more='[plugins]\npackage = "tests.site:PLUGIN"\n',
        plugin=PLUGIN,
    )
    for number in range(REAL * GROUP):
        (site.incoming / f"run{number:07d}.dat").write_bytes(b"bytes")
    done = run_pass(replace(site.project, clock=utc_now))
    assert len(done.groups(Outcome.ARCHIVED)) == REAL * GROUP, done.errors
    site.project.engine.dispose()


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


def timed(what: Callable[[], int]) -> tuple[int, float]:
    began = time.perf_counter()
    return what(), time.perf_counter() - began


def main() -> int:
    """Prints figures; 1 when the storage is larger than it may be."""
    os.environ.pop(DAGSTER_HOME, None)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        directory = Path(name)
        archive_some(directory)
        home = directory / ".dagster"
        few = size(home)
        runs = FILES // GROUP
        multiply(home / "history", runs)
        many = size(home)
        print(f"{REAL} runs of {GROUP} files: {few / 1e6:.1f} MB")
        print(
            f"{runs} runs, {FILES:,} files: {many / 1e6:.1f} MB, "
            f"{(many - few) / (runs - REAL) / 1e3:.1f} kB a run"
        )
        project = open_project(directory / "config.toml")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            ours = Ours(Names(), load_config(directory / "config.toml"))
            asked = iter(range(DELETED))
            deleted, seconds = timed(
                lambda: delete_old_runs(
                    instance, ours, utc_now() + timedelta(days=1), stop=lambda: next(asked, None) is None
                )
            )
        project.engine.dispose()
        print(f"purging: {seconds / deleted * 1e3:.0f} ms a run")
    return many > LIMIT


if __name__ == "__main__":
    sys.exit(main())
