"""A PostgreSQL that goes away for a while and comes back, under a pass and under the service."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance._helpers.command import Desk, deliver
from tests.faults._helpers.cluster import PASSWORD, Cluster, new_desk_on, started_cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with started_cluster() as made:
        yield made


@pytest.fixture
def desk(cluster: Cluster, tmp_path: Path) -> Desk:
    return new_desk_on(cluster, tmp_path)


def archived(desk: Desk) -> set[str]:
    return {path.stem for path in (desk.directory / "archive").rglob("*.dat")}


def test_a_pass_without_its_database_says_so_and_the_next_one_does_its_work(
    desk: Desk, cluster: Cluster
) -> None:
    deliver(desk, "run1", "lidar", 1)
    cluster.stop()

    for command in (("run", "--once"), ("status",), ("retry",)):
        told = desk.wrong(*command, code=1)
        assert "cannot be reached" in told
        assert PASSWORD not in told

    cluster.start()
    assert desk("run", "--once").code == 0
    assert archived(desk) == {"run1"}


@pytest.mark.long
def test_the_service_outlives_its_database_and_goes_on_when_it_is_back(desk: Desk, cluster: Cluster) -> None:
    log = desk.directory / "service.log"
    code = "from carbonation_dagster.cli import main; main()"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "run", "--no-ui"],
            cwd=desk.directory,
            env=desk.environment(),
            stderr=output,
        )

    def wait_for(condition: Callable[[], object]) -> None:
        end = time.monotonic() + 150
        while not condition():
            said = log.read_text(encoding="utf-8")
            assert process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.2)

    try:
        deliver(desk, "run1", "lidar", 1)
        wait_for(lambda: archived(desk) == {"run1"})
        # Its run has yet to record what it wrote, or has done so.
        cluster.stop()
        deliver(desk, "run2", "lidar", 2)
        wait_for(lambda: "cannot be reached" in log.read_text(encoding="utf-8"))
        cluster.start()
        wait_for(lambda: archived(desk) == {"run1", "run2"})
    finally:
        process.terminate()
        assert process.wait(30) == 0
    said = log.read_text(encoding="utf-8")
    assert PASSWORD not in said
    assert "Traceback" not in said
