"""A PostgreSQL of a test's own, which it may stop, and services that share it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance._helpers.command import Desk, new_desk
from tests.faults._helpers.disks import needs
from tests.faults._helpers.network import Network

PASSWORD = "never-to-be-told"
SERVICE = (
    sys.executable,
    "-c",
    "from carbonation_dagster.cli import main; main()",
    *("run", "--no-ui"),
)


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL of the test's own, which it may stop."""

    programs: Path
    directory: Path
    port: int
    network: Network | None = None  # whose hosts reach it, too

    @property
    def address(self) -> str:
        return self.network.address if self.network else "127.0.0.1"

    def ctl(self, *arguments: str) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run([*user, *arguments], cwd="/", check=True, capture_output=True)

    def start(self) -> None:
        addresses = ",".join(sorted({"127.0.0.1", self.address}))
        options = (
            f"-p {self.port} -c listen_addresses={addresses} -c unix_socket_directories= "
            "-c fsync=off -c max_connections=200"
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
def started_cluster(network: Network | None = None) -> Iterator[Cluster]:
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
    made = Cluster(found[-1], directory, port, network)
    try:
        made.ctl(str(found[-1] / "initdb"), "-D", str(directory / "data"), "-U", "postgres", "--no-sync")
        if network:
            with (directory / "data" / "pg_hba.conf").open("a", encoding="ascii") as file:
                file.write(f"host all all {network.range} trust\n")
        made.start()
        yield made
        made.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def new_desk_on(cluster: Cluster, directory: Path, site: str | None = None) -> Desk:
    """A desk whose project has its database there."""
    made = new_desk(directory)
    with (directory / "config.toml").open("a", encoding="utf-8") as file:
        file.write(
            '\n[service]\npoll_interval = "1s"\nheartbeat_interval = "2s"\n'
            + (f'site = "{site}"\n' if site else "")
            + '[database]\ndrivername = "postgresql"\nusername = "postgres"\nname = "postgres"\n'
            f'host = "{cluster.address}"\nport = {cluster.port}\npassword = "{PASSWORD}"\n'
        )
    made.good("db", "init")
    return made


def another(desk: Desk, directory: Path) -> Desk:
    """The same project as another host has it: with a Dagster of its own."""
    directory.mkdir()
    shutil.copytree(desk.directory / "my_plugin", directory / "my_plugin")
    shutil.copy(desk.directory / "rules.toml", directory)
    text = (desk.directory / "config.toml").read_text(encoding="utf-8")
    for key, name in (("path", "incoming"), ("destination", "archive")):
        text = text.replace(f'{key} = "{name}', f'{key} = "{desk.directory}/{name}')
    (directory / "config.toml").write_text(text, encoding="utf-8")
    return Desk(directory)


def log_of(desk: Desk) -> Path:
    """Where its service says what it does."""
    return desk.directory / "service.log"


@contextmanager
def service(desk: Desk, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    with log_of(desk).open("w") as output:
        process = subprocess.Popen(
            SERVICE, cwd=desk.directory, env=desk.environment() | variables, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def said(desk: Desk) -> str:
    return log_of(desk).read_text(encoding="utf-8")


def wait_for(desk: Desk, condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, said(desk)
        time.sleep(0.2)
