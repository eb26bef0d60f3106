"""A live service whose runs are executed by warm workers, and what becomes of runs when these die."""

import os
import signal

import pytest

from carbonation_dagster.instance.launcher import ask
from tests.dagster._helpers.running import Running, make_project, running
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
TERMINATE = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"


def workers_of(service: Running) -> dict[str, str | None]:
    """The runs that workers have, by the pids of these."""
    return dict(ask(service.site.directory / ".dagster", {}, patience=60)["workers"])


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

        # A pool that is killed leaves its runs to their end, and there is another.
        service.kill("workers")
        end.touch()
        service.wait_for(lambda: "slow.dat" in site.archived())
        site.deliver("last.dat")
        service.wait_for(lambda: service.status_of("last.dat") == "SUCCESS")
        service.wait_for(service.is_well)
        assert service.stop() == 0
        assert service.pids() == {}
