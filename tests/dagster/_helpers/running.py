"""A service in a process of its own, asked and hurt from outside."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from carbonation_core.db.clock import utc_now
from carbonation_core.db.engine import reading
from carbonation_core.db.service import parts
from carbonation_core.reports.heartbeat import of_site, reports_of
from carbonation_core.reports.status import Status, status
from carbonation_dagster.service.orphans import leftovers
from tests.site import PAIRS, Site, SiteMaker

PLUGIN = """
from datetime import datetime
from pathlib import Path
from sqlalchemy.orm import Mapped
from carbonation_core import FileBase, Plugin

class File(FileBase):
    __tablename__ = "files"
    category: Mapped[str | None]
    size: Mapped[int | None]
    start: Mapped[datetime | None]

def careful(file_paths):
    if "bad" in file_paths[0].name and not (Path(__file__).parent / "mended").exists():
        raise ValueError("it is bad")
    return {"category": "x"}

plugin = Plugin(File, extractors={"careful": careful})
"""
COMMAND = (sys.executable, "-c", "from carbonation_dagster.cli import main; main()")
# How each process of a service looks from outside.
LOOKS = {
    "daemon": "carbonation_dagster.instance.daemon",
    "workers": "carbonation_dagster.instance.pool",
    "code server": "instance.code_server",
    "definitions": "api grpc",
    "web server": "dagster_webserver",
    "run worker": "--multiprocessing-fork",
}


def make_project(make: SiteMaker, rules: str = "single", service: Mapping[str, str] | None = None) -> Site:
    """A project whose plugin is beside it, so that its service needs no more than the configuration."""
    text = {"single": "[single]\n", "pairs": PAIRS}[rules]
    site = make(
        f'{text}\n[{rules}.metadata]\nextract = "careful"\n',
        watch={"rules": f'"{rules}"', "settle_seconds": "0.2"},
        service={
            "poll_interval": '"1s"',
            "heartbeat_interval": '"2s"',
            "retry_delay": '"1s"',
            **(service or {}),
        },
        more='[plugins]\npackage = "careful_plugin"\n',
    )
    (site.directory / "careful_plugin.py").write_text(PLUGIN, encoding="utf-8")
    return site


def parent_of(pid: int) -> int:
    """Its parent's pid; 0 when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Running:
    """A service that runs, and what one sees of it."""

    site: Site
    process: subprocess.Popen[Any]
    port: int
    log: Path

    @property
    def mark(self) -> Path:
        return self.site.directory / ".dagster" / "stopping"

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ask(self, query: str, **variables: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def runs(self) -> dict[str, dict[str, Any]]:
        """Status and id of the newest run of each group key."""
        query = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
        found: dict[str, dict[str, Any]] = {}
        for run in reversed(self.ask(query)["runsOrError"]["results"]):
            tags = {tag["key"]: tag["value"] for tag in run["tags"]}
            if "carbonation/group_key" in tags:
                found[tags["carbonation/group_key"]] = run
        return found

    def status_of(self, key: str) -> str | None:
        run = self.runs().get(key)
        return run["status"] if run else None

    def status(self) -> Status:
        return status(replace(self.site.project, clock=utc_now))

    def is_well(self) -> bool:
        """Whether all its parts answer, by its own last word, and are the ones that live."""
        with reading(self.site.project.engine) as connection:
            reports = reports_of(of_site(parts(connection), self.site.project.config.service.site_name))
        alive = {pid for pids in self.pids().values() for pid in pids}
        return len(reports) == 4 and all(part.is_well and part.pid in alive for part in reports)

    def pids(self) -> dict[str, list[int]]:
        """Its processes that live, by what they are."""
        found: dict[str, list[int]] = {}
        with leftovers(self.mark) as alive:
            for one in alive:
                try:
                    line = Path(f"/proc/{one.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
                name = next((name for name, look in LOOKS.items() if look in line), "other")
                found.setdefault(name, []).append(one.pid)
        # A worker is forked, and looks as its parent does.
        pool = found.pop("workers", [])
        for pid in pool:
            found.setdefault("run worker" if parent_of(pid) in pool else "workers", []).append(pid)
        return found

    def kill(self, *names: str) -> list[int]:
        """SIGKILL at once to all its processes of these names, or of any."""
        found = self.pids()
        victims = [pid for name in names or found for pid in found.get(name, [])]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        return victims

    def wait_for(self, condition: Callable[[], object], seconds: float = 90) -> float:
        """Wait until it holds, while the service runs; returns the seconds it took."""
        began = time.monotonic()
        while not condition():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < began + seconds, self.said()
            time.sleep(0.2)
        return time.monotonic() - began

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code; it must be gone in time."""
        self.process.send_signal(number)
        code: int = self.process.wait(20)
        return code


@contextmanager
def running(
    site: Site,
    *options: str,
    environment: Mapping[str, str] | None = None,
    home: Path | None = None,
    command: tuple[str, ...] = COMMAND,
    **popen: Any,
) -> Iterator[Running]:
    """A service of that project, from when all its parts answer."""
    port = free_port()
    address = () if "--no-ui" in options else ("--port", str(port))
    given = dict(os.environ if environment is None else environment)
    given.pop("DAGSTER_HOME", None)
    if home is not None:
        given["DAGSTER_HOME"] = str(home)
    log = site.directory / "service.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "-c", str(site.directory / "config.toml"), "run", *address, *options],
            env=given,
            stderr=output,
            stdout=subprocess.DEVNULL,
            **popen,
        )
    service = Running(site, process, port, log)
    try:
        service.wait_for(lambda: "Stop it with" in service.said())
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(25)
