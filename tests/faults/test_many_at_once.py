"""A service, two loops of `run --once` and one of `retry`, all at once on one database and one tree."""

import os
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from carbonation_core.db.engine import reading
from carbonation_core.db.models import Group
from tests.dagster._helpers.running import COMMAND, make_project, running
from tests.faults._helpers.burst import Bursts
from tests.site import Site, SiteMaker

# GROUPS_AT_ONCE=3000 takes two minutes and more.
GROUPS = int(os.environ.get("GROUPS_AT_ONCE", "200"))
PORTION = 50  # groups
PACE = 2.0  # seconds between two portions
LOCKED = re.compile("database is locked|deadlock|lock wait timeout|could not serialize", re.IGNORECASE)


def again_and_again(site: Site, log: Path, enough: threading.Event, *words: str) -> list[int]:
    """Run a command until it is enough; the exit codes."""
    codes = []
    with log.open("w") as output:
        while not enough.is_set():
            command = [*COMMAND, "-c", str(site.directory / "config.toml"), *words]
            codes.append(subprocess.run(command, stderr=output, stdout=output, check=False).returncode)
    return codes


@pytest.mark.long
@pytest.mark.timeout(300 + GROUPS)
def test_all_is_archived_once_whoever_works_at_the_same_time(make: SiteMaker) -> None:
    site = make_project(make, "pairs", service={"groups_per_run": "100"})
    bursts, enough = Bursts(site), threading.Event()
    logs = [site.directory / f"{name}.log" for name in ("first", "second", "retries")]
    codes: dict[Path, list[int]] = {}

    def loop(log: Path, *words: str) -> None:
        codes[log] = again_and_again(site, log, enough, *words)

    words = [("run", "--once"), ("run", "--once"), ("retry", "--status", "retry_pending")]
    threads = [threading.Thread(target=loop, args=(log, *one)) for log, one in zip(logs, words, strict=True)]
    with running(site, "--no-ui") as service:
        for thread in threads:
            thread.start()
        try:
            for number in range(GROUPS // PORTION):
                began = time.monotonic()
                bursts.deliver(f"portion{number}", PORTION)
                service.wait_for(lambda began=began: time.monotonic() - began > PACE)
            service.wait_for(bursts.is_done, 120 + GROUPS / 10)
        finally:
            enough.set()
            for thread in threads:
                thread.join()
    bursts.require_once_each()
    assert [set(codes[log]) for log in logs] == [{0}] * 3, [log.read_text() for log in logs]
    with reading(site.project.engine) as connection:
        held = select(func.count()).where(Group.batch_id.is_not(None) | Group.due_at.is_not(None))
        assert connection.execute(held).scalar_one() == 0
    for log in (*logs, service.log):
        said = log.read_text(encoding="utf-8")
        assert not LOCKED.search(said), said
        assert "Traceback" not in said, said
