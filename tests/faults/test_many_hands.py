"""One site on several hosts: a head, and workers that take its runs from a queue, one of which is lost.

Each worker has a host name and processes of its own, as on another machine: what
it leaves behind can be told by its lease alone.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from carbonation_core.db.clock import utc_now
from carbonation_core.reports import workers
from carbonation_dagster.defs.runs import FINISHED
from carbonation_dagster.environment import DAGSTER_HOME
from carbonation_dagster.instance.launcher import HOST_TAG
from tests.dagster._helpers.running import COMMAND, make_project, parent_of, running
from tests.faults._helpers import servers
from tests.faults._helpers.burst import Bursts
from tests.faults._helpers.disks import needs
from tests.site import Site, SiteMaker

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

PAIRS = 100


@pytest.fixture(scope="module")
def postgresql() -> Iterator[None]:
    with servers.postgresql():
        yield


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with servers.redis() as broker, servers.home_with_queue(tmp_path, broker) as home:
        yield home


@dataclass
class Hand:
    """A worker on a host."""

    process: subprocess.Popen[bytes]
    log: Path

    def lose(self) -> None:
        """All its processes end at once, as with its power."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Its exit code after SIGTERM."""
        (worker,) = (
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdecimal() and parent_of(int(entry.name)) == self.process.pid
        )
        os.kill(worker, signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def hand(site: Site, home: Path, host: str) -> Iterator[Hand]:
    config = ("-c", str(site.directory / "config.toml"), "worker", "--slots", "1")
    apart = ("unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child")
    named = ("sh", "-c", 'hostname "$0"; exec "$@"', host)
    log = site.directory / f"{host}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*apart, *named, *COMMAND, *config],
            env={**os.environ, DAGSTER_HOME: str(home)},
            stdout=output,
            stderr=output,
        )
    try:
        yield Hand(process, log)
    finally:
        process.kill()
        process.wait()


def test_a_worker_that_is_lost_in_a_burst_costs_a_minute_and_nothing_else(
    postgresql: None, make: SiteMaker, home: Path
) -> None:
    done = subprocess.run(["unshare", "--uts", "--pid", "--fork", "true"], check=False)
    needs(done.returncode == 0, "namespaces of its own for host names and processes")
    site = make_project(
        make, "pairs", service={"site": '"north"', "groups_per_run": "10", "single_group_runs": "0"}
    )
    bursts = Bursts(site)

    def hosts() -> set[str]:
        return {one.host for one in workers.known(site.project)}

    def at_work_on(host: str) -> bool:
        started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], tags={HOST_TAG: host})
        return bool(instance.get_runs(started))

    with (
        running(site, "--no-ui", home=home) as head,
        hand(site, home, "one") as one,
        hand(site, home, "two") as two,
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):
        head.wait_for(lambda: hosts() == {"one", "two"})
        bursts.deliver("burst", PAIRS)
        head.wait_for(lambda: bursts.archived() >= PAIRS and at_work_on("one"))
        one.lose()
        seconds = head.wait_for(bursts.is_done, 150)
        print(f"all archived {seconds:.0f} s after the loss")
        bursts.require_once_each()

        head.wait_for(lambda: all(run.status in FINISHED for run in instance.get_runs()))
        records = instance.get_runs()
        assert {run.tags[HOST_TAG] for run in records if run.is_success} == {"one", "two"}
        failed = [run.tags[HOST_TAG] for run in records if not run.is_success]
        assert failed in ([], ["one"])

        with hand(site, home, "two") as clone:
            assert clone.process.wait(60) == 1
            assert "lives on a host that is called two, too" in clone.log.read_text(encoding="utf-8")

        assert two.stop() == 0
        assert hosts() == {"one"}


SLOW = """
def careful(file_paths):
    while not (Path(__file__).parent / "go").exists():
        time.sleep(0.1)
    return {"category": "x"}
"""


def test_a_run_waits_in_its_queue_behind_one_that_has_the_only_slot(
    postgresql: None, make: SiteMaker, home: Path
) -> None:
    done = subprocess.run(["unshare", "--uts", "--pid", "--fork", "true"], check=False)
    needs(done.returncode == 0, "namespaces of its own for host names and processes")
    settings = (home / "dagster.yaml").read_text(encoding="utf-8")
    for key, seconds in (("start_timeout", 2), ("poll_interval", 1)):
        settings = re.sub(rf"{key}_seconds: \d+", f"{key}_seconds: {seconds}", settings)
    (home / "dagster.yaml").write_text(settings, encoding="utf-8")
    site = make_project(make, service={"site": '"north"', "reconcile_interval": '"2s"'})
    plugin = site.directory / "careful_plugin.py"
    before, _, after = plugin.read_text(encoding="utf-8").partition("\ndef careful")
    after = after[after.index("\nplugin = ") :]
    plugin.write_text(f"import time\n{before}{SLOW}{after}", encoding="utf-8")
    status = dg.DagsterRunStatus

    with (
        running(site, "--no-ui", home=home) as head,
        hand(site, home, "one"),
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):
        head.wait_for(lambda: workers.known(site.project))
        site.deliver("slow.dat")
        head.wait_for(lambda: instance.get_runs(dg.RunsFilter(statuses=[status.STARTED])))

        def waiting() -> set[str]:
            """Runs that have waited for ten times as long as one may take to begin."""
            long_ago = utc_now() - timedelta(seconds=20)
            waits = dg.RunsFilter(statuses=[status.STARTING], created_before=long_ago)
            return {run.run_id for run in instance.get_runs(waits)}

        head.wait_for(waiting)
        waited = waiting()
        (site.directory / "go").touch()
        head.wait_for(lambda: not waiting())
        ended = instance.get_runs(dg.RunsFilter(run_ids=list(waited)))
        assert {run.status for run in ended} <= {status.STARTED, status.SUCCESS}
