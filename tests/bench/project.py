"""A project as `carbonation init` makes it, and what is delivered to it."""

import filecmp
import json
import os
import random
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from carbonation_core.config.loading import load_config
from carbonation_core.db.engine import make_engine
from carbonation_dagster.cli.scaffold import scaffold
from tests.bench.processes import Cost, command

CARBONATION = Path(sys.executable).with_name("carbonation")
DIRECTORY = Path("build/bench")  # on the disk of the project; /tmp may be memory
DEPLOY = Path("deploy")
SERVER = make_url(os.environ.get("BENCH_SERVER", "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres"))
SETTLE = 0.5  # seconds
DATA, DESCRIPTION = 4096, 200  # bytes of the two files of a pair


@dataclass
class Bench:
    """A project on the disk, with its database."""

    directory: Path
    environment: dict[str, str]
    delivered: int = 0  # pairs
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    @property
    def incoming(self) -> Path:
        return self.directory / "incoming"

    @property
    def config(self) -> Path:
        return self.directory / "config.toml"

    def arguments(self, *given: str) -> list[str]:
        return [str(CARBONATION), "-c", str(self.config), *given]

    def carbonation(self, *given: str) -> Cost:
        return command(self.arguments(*given), self.environment)

    def deliver(self, pairs: int, to: Path | None = None) -> None:
        """So many more, each with bytes of its own, durable as if they came over a network."""
        for number in range(self.delivered, self.delivered + pairs):
            described = {"instrument": f"lidar-{number % 4}", "start": f"2026-01-01T{number % 24:02}:00:00Z"}
            path = (to or self.incoming) / f"run{number:06}"
            path.with_suffix(".dat").write_bytes(self._random.randbytes(DATA))
            path.with_suffix(".json").write_text(json.dumps(described).ljust(DESCRIPTION))
        self.delivered += pairs

    def engine(self) -> Engine:
        return make_engine(load_config(self.config).database)

    def require_archived(self) -> None:
        """Stop if the archive does not hold what was delivered, byte for byte."""
        copies = {path.name: path for path in (self.directory / "archive").rglob("run*.*")}
        delivered = [path for path in self.incoming.iterdir() if path.name.startswith("run")]
        if len(copies) != len(delivered) or not all(
            path.name in copies and filecmp.cmp(path, copies[path.name], shallow=False) for path in delivered
        ):
            raise RuntimeError("the archive does not hold what was delivered")
        filecmp.clear_cache()


@contextmanager
def project(
    database: str = "SQLite",
    watches: int = 1,
    slots: int | None = None,
    settle: float = SETTLE,
    home: str = "postgres",
) -> Iterator[Bench]:
    """A new one, which is gone afterwards; `database` is SQLite or PostgreSQL.

    `home`: from which directory of deploy/ its dagster.yaml is, on PostgreSQL.
    """
    name = f"carbonation_bench_{uuid.uuid4().hex[:8]}"
    directory = (DIRECTORY / name).resolve()
    directory.mkdir(parents=True)
    list(scaffold(directory))
    bench = Bench(directory, {key: value for key, value in os.environ.items() if key != "DAGSTER_HOME"})
    text_of = bench.config.read_text().replace("[[watch]]\n", f"[[watch]]\nsettle_seconds = {settle}\n", 1)
    for number in range(1, watches):
        (directory / f"w{number}").mkdir()
        text_of += f'\n[[watch]]\nname = "w{number}"\npath = "w{number}"\nrules = "instrument"\n'
    if slots is not None:
        text_of += f"\n[service]\nruns_at_once = {slots}\n"
    if database == "PostgreSQL":
        text_of += "\n[database]\n" + _on_server(name, bench, home)
    bench.config.write_text(text_of)
    try:
        bench.carbonation("db", "init")
        yield bench
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if database == "PostgreSQL":
            _at_server(f"DROP DATABASE {name} WITH (FORCE)")


def databases() -> list[str]:
    """Those that can be measured: PostgreSQL only where `BENCH_SERVER` answers."""
    try:
        _at_server("SELECT 1")
    except OperationalError:
        return ["SQLite"]
    return ["SQLite", "PostgreSQL"]


def _on_server(name: str, bench: Bench, home_of: str) -> str:
    """A database of its own there, for Dagster, too; the keys of [database]."""
    _at_server(f"CREATE DATABASE {name}")
    home = bench.directory / "home"
    home.mkdir()
    shutil.copy(DEPLOY / home_of / "dagster.yaml", home / "dagster.yaml")
    values = {
        "username": SERVER.username or "postgres",
        "password": SERVER.password or "none",
        "host": SERVER.host or "127.0.0.1",
        "port": str(SERVER.port or 5432),
    }
    bench.environment |= {"DAGSTER_HOME": str(home), "DAGSTER_PG_DATABASE": name}
    bench.environment |= {f"DAGSTER_PG_{key.upper()}": value for key, value in values.items()}
    keys = {"drivername": f'"{SERVER.drivername}"', "name": f'"{name}"', "port": values.pop("port")}
    keys |= {key: f'"{value}"' for key, value in values.items()}
    return "".join(f"{key} = {value}\n" for key, value in keys.items())


def _at_server(statement: str) -> None:
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with server.connect() as connection:
        connection.execute(text(statement))
