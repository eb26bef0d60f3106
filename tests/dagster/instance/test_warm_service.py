"""A live service whose runs are executed by warm workers, and what becomes of runs when these die."""

import os
import signal

import pytest

from carbonation_dagster.instance.launcher import ask
from tests.dagster._helpers.running import Running, make_project, parent_of, running
from tests.site import SiteMaker

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

PLUGIN = """
import time
from pathlib import Path
from sqlalchemy.orm import Mapped
from carbonation_core import FileBase, Plugin

class File(FileBase):
    __tablename__ = "files"
    category: Mapped[str | None]

def careful(file_paths):
    here = Path(__file__).parent
    if "slow" in file_paths[0].name:
        (here / "slow.began").touch()
        while not (here / "slow.end").exists():
            time.sleep(0.05)
    return {"category": "FIRST"}

plugin = Plugin(File, extractors={"careful": careful})
"""
RUNS = "{ runsOrError { ... on Runs { results { runId status } } } }"
PARTS = {"code server", "daemon", "web server"}
TERMINATE = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"


def workers_of(service: Running) -> dict[str, str | None]:
    """The runs that workers have, by the pids of these."""
    return dict(ask(service.site.directory / ".dagster", {}, patience=60)["workers"])


def forked_parts(service: Running) -> dict[str, int]:
    """The pids of parts that the pool has forked, by their names."""
    found = service.pids()
    pool = found.get("workers", [])
    return {
        name: pid for name, pids in found.items() for pid in pids if name in PARTS and parent_of(pid) in pool
    }


def status_of(service: Running, run_id: str) -> str:
    runs = service.ask(RUNS)["runsOrError"]["results"]
    return str(next(run["status"] for run in runs if run["runId"] == run_id))


def test_workers_execute_runs_and_whatever_dies_strands_nothing(make: SiteMaker) -> None:
    site = make_project(make)
    plugin = site.directory / "careful_plugin.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    began, end = site.directory / "slow.began", site.directory / "slow.end"
    with running(site) as service:
        site.deliver("first.dat")
        service.wait_for(lambda: service.status_of("first.dat") == "SUCCESS")
        assert len(workers_of(service)) == 1

        # A changed plugin holds for the next run.
        plugin.write_text(PLUGIN.replace("FIRST", "SECOND"), encoding="utf-8")
        site.deliver("second.dat")
        service.wait_for(lambda: service.status_of("second.dat") == "SUCCESS")
        assert site.group("second.dat").metadata["category"] == "SECOND"

        # A run that is ended from the UI is cancelled, and its group comes again.
        site.deliver("slow.dat")
        service.wait_for(began.exists)
        cancelled = service.runs()["slow.dat"]["runId"]
        began.unlink()
        assert service.ask(TERMINATE, id=cancelled)["terminateRun"]["__typename"] == "TerminateRunSuccess"
        service.wait_for(began.exists)
        assert status_of(service, cancelled) == "CANCELED"

        # A worker that is killed is a failed run at once.
        killed = service.runs()["slow.dat"]["runId"]
        began.unlink()
        (pid,) = [pid for pid, run_id in workers_of(service).items() if run_id == killed]
        os.kill(int(pid), signal.SIGKILL)
        service.wait_for(began.exists)
        assert status_of(service, killed) == "FAILURE"

        # A pool that is killed leaves its runs to their end, and the other parts alone; there is another.
        parts = forked_parts(service)
        assert set(parts) == PARTS
        service.kill("workers")
        end.touch()
        service.wait_for(lambda: "slow.dat" in site.archived())
        site.deliver("last.dat")
        service.wait_for(lambda: service.status_of("last.dat") == "SUCCESS")
        service.wait_for(service.is_well)
        assert parts.items() <= {name: pids[0] for name, pids in service.pids().items()}.items()

        # What ends then is forked from the other one.
        service.kill("code server")
        service.wait_for(lambda: set(forked_parts(service)) == PARTS)
        service.wait_for(service.is_well)
        assert service.stop() == 0
        assert service.pids() == {}


def test_a_plugin_that_starts_threads_has_its_service_started_from_nothing(make: SiteMaker) -> None:
    site = make_project(make)
    thread = "import threading\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    plugin = PLUGIN.replace("class File", f"{thread}\nclass File")
    (site.directory / "careful_plugin.py").write_text(plugin, encoding="utf-8")
    with running(site) as service:
        site.deliver("first.dat")
        service.wait_for(lambda: service.status_of("first.dat") == "SUCCESS")
        assert forked_parts(service) == {}
        assert (
            "the daemon is started by itself, and not forked: a plugin has started threads" in service.said()
        )
