"""Servers of a test's own: PostgreSQL and Redis, on free ports of this machine, gone at the end."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests import databases
from tests.dagster._helpers.running import free_port
from tests.faults._helpers.cluster import started_cluster
from tests.faults._helpers.disks import needs
from tests.faults._helpers.network import Network

DAGSTER_YAML = Path(databases.__file__).parents[1] / "deploy" / "celery" / "dagster.yaml"
ON_SERVER = Path(databases.__file__).with_name("on_server")
# Says where the server is, and keeps it until its standard input is closed.
KEEPER = "import os, sys; print(os.environ['TEST_DATABASE'], flush=True); sys.stdin.read()"


@contextmanager
def postgresql() -> Iterator[None]:
    """Projects, and `databases.fresh`, have their databases there."""
    needs(bool(list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), "PostgreSQL: apt install postgresql")
    environment = {name: value for name, value in os.environ.items() if name != "TEST_DATABASE"}
    process = subprocess.Popen(
        [str(ON_SERVER), "postgresql", sys.executable, "-c", KEEPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        url = process.stdout.readline().strip()
        needs(bool(url), "a PostgreSQL that starts: tests/on_server postgresql true says why it does not")
        with _used(url):
            yield
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


@contextmanager
def postgresql_for(network: Network) -> Iterator[None]:
    """The same on one that the hosts of a network reach, too."""
    with (
        started_cluster(network) as cluster,
        _used(f"postgresql+psycopg2://postgres@{cluster.address}:{cluster.port}/postgres"),
    ):
        yield


@contextmanager
def _used(url: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(databases, "SERVER", make_url(url))
        patch.setattr(databases, "SQLITE", False)
        yield
        databases.drop_all()


@contextmanager
def redis(address: str = "127.0.0.1") -> Iterator[str]:
    """The URL of a Redis."""
    program = shutil.which("redis-server")
    needs(program is not None, "Redis: apt install redis-server")
    port = free_port()
    options = ("--port", str(port), "--bind", address, "--save", "", "--appendonly", "no")
    process = subprocess.Popen(
        [str(program), *options, "--protected-mode", "no"],  # which would hear this machine alone
        stdout=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex((address, port)) == 0:
                    break
        yield f"redis://{address}:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def home_with_queue(directory: Path, broker: str) -> Iterator[Path]:
    """DAGSTER_HOME as deploy/celery has it, with a database and a broker."""
    home = directory / "home"
    home.mkdir()
    shutil.copy(DAGSTER_YAML, home)
    made = databases.fresh(directory)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "CARBONATION_BROKER": broker,
            "DAGSTER_PG_USERNAME": made.username or "",
            "DAGSTER_PG_PASSWORD": "",
            "DAGSTER_PG_HOST": made.host or "",
            "DAGSTER_PG_PORT": str(made.port),
            "DAGSTER_PG_DATABASE": made.name,
        }.items():
            patch.setenv(name, value)
        yield home
