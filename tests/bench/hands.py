"""A burst on workers that take its runs from a queue: what more slots give, and what each part costs."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from carbonation_core.db.models import ServiceState
from carbonation_core.db.service import WORKER
from tests.bench.processes import cpu
from tests.bench.project import databases, project
from tests.bench.service import WARM, Service, burst, started
from tests.bench.table import Row

PAIRS = 10_000
# All but the question that the bench itself asks a hundred times a second.
STATEMENTS = text("""
    SELECT sum(calls) FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid
    WHERE datname = current_database() AND query NOT LIKE 'SELECT count(*)%FROM feed'
""")


def hands(full: bool) -> Iterator[Row]:
    """On PostgreSQL and Redis, all on this machine, where both are to be had."""
    one = 0.0
    for slots in (1, 2, 4) if full and shutil.which("redis-server") and len(databases()) > 1 else ():
        with _site(slots) as (head, worker):
            parts = {"head": head.process.pid, "worker": worker.pid, "PostgreSQL": _postmaster(head.engine)}
            before = {name: cpu(pid) for name, pid in parts.items()}
            asked = _statements(head.engine)
            work = f"burst of {PAIRS:,} pairs, a worker of {slots} slot{'s' if slots > 1 else ''}"
            rate = next(burst(head, work, PAIRS))
            one = one or rate.figure
            yield Row(rate.work, rate.figure, rate.unit, one, "1 slot")
            for name, pid in parts.items():
                yield Row(f"{work}: CPU of {name}, a group", 1000 * (cpu(pid) - before[name]) / PAIRS, "ms")
            if asked is not None:
                number = (_statements(head.engine) or 0.0) - asked
                yield Row(f"{work}: statements a group", number / PAIRS, "statements")


@contextmanager
def _site(slots: int) -> Iterator[tuple[Service, subprocess.Popen[bytes]]]:
    """A head, and a worker beside it."""
    with project("PostgreSQL", home="celery") as bench, _redis() as broker:
        bench.environment["CARBONATION_BROKER"] = broker
        with bench.config.open("a") as config:
            config.write('\n[service]\nsite = "bench"\n')
        with started(bench, "--no-ui") as head, _worker(head, slots) as worker:
            time.sleep(WARM)
            yield head, worker


@contextmanager
def _worker(head: Service, slots: int) -> Iterator[subprocess.Popen[bytes]]:
    """One that takes runs."""
    log = head.bench.directory / "worker.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            head.bench.arguments("worker", "--slots", str(slots)),
            env=head.bench.environment,
            stdout=output,
            stderr=output,
        )
    said = select(func.count()).where(ServiceState.part == WORKER)
    try:
        while not head.asked(said):
            if process.poll() is not None:
                raise RuntimeError(f"the worker does not start\n{log.read_text()[-3000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _redis() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


def _postmaster(engine: Engine) -> int:
    """The process that the server of this machine is a child of; 0 where it is elsewhere."""
    with engine.connect() as connection:
        backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with suppress(OSError):
            return int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _statements(engine: Engine) -> float | None:
    """How many the server has executed; None where it does not count them."""
    with suppress(DBAPIError), engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_stat_statements"))
        return float(connection.execute(STATEMENTS).scalar_one())
    return None
