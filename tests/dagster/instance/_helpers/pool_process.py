"""A pool whose runs do as they are named: `python -m tests.dagster.instance._helpers.pool_process HOME`."""

import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

from carbonation_core.logs import records
from carbonation_dagster.instance import parts, pool
from carbonation_dagster.instance.forks import apart, forked
from carbonation_dagster.instance.launcher import listening_at
from carbonation_dagster.instance.pool import Pool
from carbonation_dagster.instance.worker import Worker

HOME = Path(sys.argv[1])


def execute(run_id: str) -> None:
    """`KIND-NUMBER`; what is to be seen from outside is written to a file of the run's name."""
    kind = run_id.partition("-")[0]
    if kind == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "wait":
        (HOME / run_id).touch()
        while not (HOME / f"{run_id}.end").exists():
            time.sleep(0.01)
            check_interrupt(run_id)
    elif kind == "spoil":
        os.chdir("/")
        os.environ["SPOILT"] = "yes"
        os.umask(0o777)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 3600)
        sys.path.append("/spoilt")
    elif kind == "fail":
        raise OSError("the run's row is not there")
    state = {
        "pid": os.getpid(),
        "directory": str(Path.cwd()),
        "spoilt": "SPOILT" in os.environ or "/spoilt" in sys.path,
        "alarm": signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0),
        "ignores": signal.getsignal(signal.SIGTERM) is signal.SIG_IGN,
    }
    write(run_id, json.dumps(state))


def check_interrupt(run_id: str) -> None:
    """As Dagster's ops do."""
    from dagster._utils.interrupts import pop_captured_interrupt

    if pop_captured_interrupt():
        write(f"{run_id}.interrupted", "yes")
        raise KeyboardInterrupt


def write(name: str, text: str) -> None:
    """At once, for whoever waits for it."""
    os.umask(0o022)
    new = HOME / f"{name}.new"
    new.write_text(text, encoding="utf-8")
    new.rename(HOME / name)


def report(run_id: str, why: str) -> None:
    """Of some runs into a storage that is locked."""
    while run_id.endswith("locked") and not (HOME / f"{run_id}.end").exists():
        time.sleep(0.01)
    write(f"{run_id}.reported", why)


def serve(to: socket.socket) -> None:
    """The worker."""

    def run(run_id: str) -> None:
        try:
            execute(run_id)
        except KeyboardInterrupt:
            return

    Worker(to, run).serve()


def main() -> None:
    """The pool, until SIGTERM; what tests set comes from the environment."""
    records.begin(logging.INFO, records.ToStandardError())
    pool.MOST_RUNS = int(os.environ.get("MOST_RUNS", pool.MOST_RUNS))
    pool.IDLE = float(os.environ.get("IDLE", pool.IDLE))
    pool.PATIENCE = float(os.environ.get("PATIENCE", pool.PATIENCE))
    listening = listening_at(HOME)
    there = Pool(
        listening,
        forked(serve),
        apart(report),
        (HOME / "outdated").exists,
        forks=os.environ.get("FORKS", "yes") == "yes",
        slots=int(os.environ.get("SLOTS", "2")),
    )

    def stop(number: int, frame: object) -> None:
        there.stops = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    part: parts.Begins | None = None
    try:
        there.serve()
    except parts.Begins as begins:
        part = begins
    if part is not None:
        parts.become(part)
    else:
        there.wait_for_runs()


if __name__ == "__main__":
    main()
