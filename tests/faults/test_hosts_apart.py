"""One site on several hosts: what becomes of the work of one that is cut off, and what a change does.

Each worker has processes, a name and a network of its own, and other device numbers
for what is delivered than the head.
"""

import itertools
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import pytest

from carbonation_core.db.clock import utc_now
from carbonation_core.reports import workers
from carbonation_dagster.defs.runs import FINISHED
from carbonation_dagster.environment import DAGSTER_HOME
from carbonation_dagster.instance.launcher import HOST_TAG
from tests.dagster._helpers.running import COMMAND, Running, make_project, running
from tests.faults._helpers import servers
from tests.faults._helpers.burst import Bursts
from tests.faults._helpers.disks import mounted, needs
from tests.faults._helpers.network import Host, Network, network
from tests.site import Site, SiteMaker

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(500)]

PAIRS = 200
RECOVERED = 150.0  # seconds after a loss in which all has to be as it should
# On "$0" lies what lay there, but on a file system with a number of its own.
OVERLAID = 'mount -t overlay overlay -o "lowerdir=$0:$1" "$0"; shift; exec "$@"'


@pytest.fixture
def hosts() -> Iterator[Network]:
    with network() as made, servers.postgresql_for(made):
        yield made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[None]:
    """The watch of a site that is made later, on a file system of which there can be an overlay."""
    with mounted(tmp_path / "disk", "size=16m") as disk:
        delivered, nothing = disk / "incoming", disk / "none"
        delivered.mkdir()
        nothing.mkdir()
        (tmp_path / "incoming").symlink_to(delivered)
        tried = ("unshare", "--mount", "sh", "-ec", OVERLAID, str(delivered), str(nothing), "true")
        done = subprocess.run(tried, check=False, capture_output=True, text=True)
        needs(done.returncode == 0, f"to mount an overlay: {done.stderr.strip()}")
        yield


@pytest.fixture
def home(hosts: Network, tmp_path: Path) -> Iterator[Path]:
    with servers.redis(hosts.address) as broker, servers.home_with_queue(tmp_path, broker) as home:
        yield home


@dataclass
class Work:
    """A head on this machine, workers on others, and what they have to do."""

    site: Site
    head: Running
    bursts: Bursts
    instance: dg.DagsterInstance
    worker: Callable[[str], Host]

    def hosts(self) -> set[str]:
        """Those whose workers are heard."""
        project = replace(self.site.project, clock=utc_now)
        return {one.host for one in workers.known(project) if not one.is_silent}

    def runs_on(self, host: str, status: dg.DagsterRunStatus) -> set[str]:
        """Ids of runs."""
        found = self.instance.get_runs(dg.RunsFilter(statuses=[status], tags={HOST_TAG: host}))
        return {run.run_id for run in found}

    def is_done(self) -> bool:
        """Whether all is archived, and no run is left as started."""
        return self.bursts.is_done() and all(run.status in FINISHED for run in self.instance.get_runs())

    def failed_on(self) -> list[str]:
        """The host of each run that failed."""
        return [run.tags[HOST_TAG] for run in self.instance.get_runs() if not run.is_success]


@pytest.fixture
def work(disk: None, hosts: Network, home: Path, make: SiteMaker) -> Iterator[Work]:
    """A head that has no workers yet."""
    site = make_project(
        make, "pairs", service={"site": '"north"', "groups_per_run": "10", "single_group_runs": "0"}
    )
    delivered = site.incoming.resolve()

    def worker(name: str) -> AbstractContextManager[Host]:
        config = ("-c", str(site.directory / "config.toml"), "worker", "--slots", "1")
        overlaid = ("sh", "-ec", OVERLAID, str(delivered), str(delivered.parent / "none"))
        environment = {**os.environ, DAGSTER_HOME: str(home)}
        log = site.directory / f"{name}.log"
        return hosts.host(name, [*overlaid, *COMMAND, *config], log, environment)

    with (
        running(site, "--no-ui", home=home) as head,
        dg.DagsterInstance.from_config(str(home)) as instance,
        ExitStack() as stack,
    ):
        yield Work(site, head, Bursts(site), instance, lambda name: stack.enter_context(worker(name)))


def half_done(work: Work) -> Host:
    """Have two workers archive half of a burst; the one of them that is in the middle of a run."""
    one, _ = (work.worker(name) for name in ("one", "two"))
    work.head.wait_for(lambda: work.hosts() == {"one", "two"})
    work.bursts.deliver("burst", PAIRS)
    seen = one.sees(work.site.incoming / "burst-0.dat")
    here = (work.site.incoming / "burst-0.dat").stat()
    assert (seen.st_ino, seen.st_dev != here.st_dev) == (here.st_ino, True)
    work.head.wait_for(
        lambda: work.bursts.archived() >= PAIRS and work.runs_on("one", dg.DagsterRunStatus.STARTED)
    )
    return one


def test_two_workers_one_loses_its_cable_and_power_at_half(work: Work) -> None:
    one = half_done(work)
    one.pull_cable()
    cut = time.monotonic()
    assert one.works_for(5)
    one.lose_power()
    work.head.wait_for(work.is_done, RECOVERED - (time.monotonic() - cut))
    print(f"all archived {time.monotonic() - cut:.0f} s after the loss")
    work.bursts.require_once_each()
    assert "Traceback" not in work.head.said()
    assert work.failed_on() in ([], ["one"])


def test_two_workers_one_is_cut_off_at_half_for_a_minute_and_comes_back(work: Work) -> None:
    one = half_done(work)
    one.pull_cable()
    cut = time.monotonic()
    work.head.wait_for(work.is_done, RECOVERED)
    print(f"all archived {time.monotonic() - cut:.0f} s after the cut")
    work.bursts.require_once_each()
    work.head.wait_for(lambda: work.hosts() == {"two"})  # the other has said nothing for a minute
    assert one.works_for(0)

    before = work.runs_on("one", dg.DagsterRunStatus.SUCCESS)
    one.plug_cable()
    number = itertools.count()

    def has_taken_another() -> bool:
        if work.bursts.is_done():
            work.bursts.deliver(f"later{next(number)}", 5)
        return work.runs_on("one", dg.DagsterRunStatus.SUCCESS) > before

    seconds = work.head.wait_for(has_taken_another, RECOVERED)
    print(f"it takes runs again {seconds:.0f} s after it is back")
    work.head.wait_for(work.is_done)
    work.bursts.require_once_each()
    assert work.failed_on() in ([], ["one"])


def test_no_group_goes_to_the_old_destination_after_a_sighup_with_queue_workers(work: Work) -> None:
    site, head, bursts = work.site, work.head, work.bursts
    config, other = site.directory / "config.toml", site.directory / "other_archive"
    work.worker("one")
    head.wait_for(lambda: work.hosts() == {"one"})
    bursts.deliver("burst", PAIRS)
    head.wait_for(lambda: bursts.archived() >= 40)
    before = config.read_text(encoding="utf-8")
    config.write_text(
        before.replace('destination = "archive"', 'destination = "other_archive"'), encoding="utf-8"
    )
    head.process.send_signal(signal.SIGHUP)
    head.wait_for(lambda: 'read again: [[archive]] "main" destination: ' in head.said())
    in_force = set(site.archived())
    assert "by the earlier configuration" not in head.said()  # no run took so long that it is not waited for
    bursts.deliver("later", 20)
    head.wait_for(work.is_done, RECOVERED)

    assert set(site.archived()) == in_force
    new = {path.name: path.read_bytes() for path in other.iterdir()}
    assert {**site.archived(), **new} == bursts.delivered
    assert not in_force & new.keys()
    groups = Counter(name.rpartition(".")[0] for name in in_force)
    assert set(groups.values()) == {2}  # each lies in one place as a whole
    assert len(in_force) < 2 * PAIRS
    assert Counter(site.feed()) == Counter(
        {(name.removesuffix(".dat"), "completed"): 1 for name in bursts.delivered if name.endswith(".dat")}
    )
