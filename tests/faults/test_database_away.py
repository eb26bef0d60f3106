"""A PostgreSQL that goes away for a while and comes back, under a pass and under the service."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance._helpers.command import Desk, deliver, new_desk
from tests.faults._helpers.disks import needs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PASSWORD = "never-to-be-told"


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL of the test's own, which it may stop."""

    programs: Path
    directory: Path
    port: int

    def ctl(self, *arguments: str) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run([*user, *arguments], cwd="/", check=True, capture_output=True)

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= "
            "-c fsync=off -c max_connections=100"
        )
        self.ctl(
            *(str(self.programs / "pg_ctl"), "-D", str(self.directory / "data"), "-o", options),
            *("-l", str(self.directory / "log"), "-w", "-s", "start"),
        )

    def stop(self) -> None:
        self.ctl(
            *(str(self.programs / "pg_ctl"), "-D", str(self.directory / "data")),
            *("-m", "immediate", "-w", "-s", "stop"),
        )


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    needs(bool(found), "PostgreSQL's programs")
    directory = Path("/dev/shm") / f"carbonation-cluster-{os.getpid()}"
    directory.mkdir()
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Cluster(found[-1], directory, port)
    try:
        made.ctl(str(found[-1] / "initdb"), "-D", str(directory / "data"), "-U", "postgres", "--no-sync")
        made.start()
        yield made
        made.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def desk(cluster: Cluster, tmp_path: Path) -> Desk:
    made = new_desk(tmp_path)
    with (tmp_path / "config.toml").open("a", encoding="utf-8") as file:
        file.write(
            '\n[service]\npoll_interval = "1s"\nheartbeat_interval = "2s"\n'
            '[database]\ndrivername = "postgresql"\nusername = "postgres"\nname = "postgres"\n'
            f'host = "127.0.0.1"\nport = {cluster.port}\npassword = "{PASSWORD}"\n'
        )
    made.good("db", "init")
    return made


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
