"""A PostgreSQL of a test's own, which it may stop."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance._helpers.command import Desk, new_desk
from tests.faults._helpers.disks import needs

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


@contextmanager
def started_cluster() -> Iterator[Cluster]:
    """One that runs, and is gone afterwards."""
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


def new_desk_on(cluster: Cluster, directory: Path) -> Desk:
    """A desk whose project has its database there."""
    made = new_desk(directory)
    with (directory / "config.toml").open("a", encoding="utf-8") as file:
        file.write(
            '\n[service]\npoll_interval = "1s"\nheartbeat_interval = "2s"\n'
            '[database]\ndrivername = "postgresql"\nusername = "postgres"\nname = "postgres"\n'
            f'host = "127.0.0.1"\nport = {cluster.port}\npassword = "{PASSWORD}"\n'
        )
    made.good("db", "init")
    return made
