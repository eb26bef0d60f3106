"""The processes of the service, each as a value: how it is started, and how one knows that it works."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import dagster as dg

from carbonation_core.config.loading import Config
from carbonation_dagster.service import code_server
from carbonation_dagster.service.home import HomeError, is_fitted

CODE_SERVER, WORKERS, DAEMON, WEB_SERVER = "code server", "workers", "daemon", "web server"
LOCATION = "carbonation"
# Modules that parts load besides those of runs.
_OF_PARTS, _OF_UI = ("dagster._daemon.cli", "dagster._grpc.server"), ("dagster_webserver.cli",)
# Each of the daemon's loops says that it lives every 30 s, or when a long step of it is done.
STANDS_STILL = 180.0  # seconds

Probe = Callable[[], bool | str]
Heartbeats = Mapping[str, float | None]


class Process(Protocol):
    """A process that was started, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...  # noqa: D102  # the standard library's words, all of them
    def poll(self) -> int | None: ...  # noqa: D102
    def wait(self, timeout: float | None = None) -> object: ...  # noqa: D102
    def terminate(self) -> None: ...  # noqa: D102
    def kill(self) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Part:
    """A process of the service.

    `command` follows `python -m`. `prober` makes, at each start, what asks
    whether the process does its work; that may take some seconds, answers with
    a sentence when the process lives but something else is in its way, and raises
    `CarbonationError` when there is no use in trying again. It is started when
    the part `after` answers, and anew whenever that one is, whose words it holds.
    `origin` is a part that must answer at its start, too, as it is forked from it.
    """

    name: str
    command: tuple[str, ...]
    prober: Callable[[], Probe]
    after: str | None = None
    origin: str | None = None


@dataclass(frozen=True)
class Address:
    """Where the web UI is."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The UI's address for a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def start(
    part: Part,
    environment: Mapping[str, str],
    directory: Path,
    streams: tuple[int, int, int],
) -> subprocess.Popen[bytes]:
    """The process of a part, with these as its standard input, output and error."""
    return subprocess.Popen(  # noqa: S603  # our own words
        [sys.executable, "-m", *part.command],
        env=environment,
        # Dagster takes a `.env` of the directory it is started in for more
        # than the environment; one may name another configuration.
        cwd=directory,
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        start_new_session=True,  # Ctrl-C is ours to hand on, in order
    )


def code_server_part(config: Config, port: int, level: str, has_runs: bool) -> Part:
    """The server of the definitions: it evaluates sensors, and may have to start the processes of runs."""
    ours = ("carbonation_dagster.instance.code_server", "--lazy-load-user-code")
    command = ("dagster", "code-server", "start") if has_runs else ours
    module = ("-m", "carbonation_dagster.definitions", "-d", str(config.directory))
    place = ("-h", code_server.HOST, "-p", str(port), "--location-name", LOCATION)
    return Part(CODE_SERVER, (*command, *place, "--log-level", level, *module), lambda: _Loaded(port))


def has_warm_launcher(instance: dg.DagsterInstance) -> bool:
    """Whether that instance has its runs executed by warm workers, where there are any."""
    if not is_fitted():
        return False
    from carbonation_dagster.instance.launcher import WarmRunLauncher

    return isinstance(instance.run_launcher, WarmRunLauncher)


def has_queue_launcher(instance: dg.DagsterInstance) -> bool:
    """Whether that instance has its runs executed by workers that take them from a queue of Celery."""
    kinds = type(instance.run_launcher).__mro__
    return any(kind.__module__ == "carbonation_dagster.instance.celery" for kind in kinds)


def workers_part(home: Path, with_ui: bool) -> Part:
    """The pool of warm workers, which execute runs, and from which the other parts are forked."""
    command = ("carbonation_dagster.instance.pool", *_OF_PARTS, *(_OF_UI if with_ui else ()))
    return Part(WORKERS, command, lambda: partial(_works, home))


def daemon_part(workspace: Path, heartbeats: Callable[[], Heartbeats], level: str) -> Part:
    """The daemon: it asks for ticks, and for the runs that they request."""
    command = ("carbonation_dagster.instance.daemon", "run", "--log-level", level, "-w", str(workspace))
    return Part(DAEMON, command, lambda: Pulse(heartbeats), after=CODE_SERVER)


def web_server_part(ui: Address, workspace: Path, level: str) -> Part:
    """The web server, which shows the UI."""
    place = ("-h", ui.host, "-p", str(ui.port), "-w", str(workspace))
    command = ("dagster_webserver", *place, "--dagster-log-level", level, "--uvicorn-log-level", level)
    return Part(WEB_SERVER, command, lambda: partial(_serves, ui.url), after=CODE_SERVER)


class _Loaded:
    """Asks the code server, the first time also whether it could load the definitions."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_loaded = False

    def __call__(self) -> bool:
        if not code_server.answers(self._port):
            return False
        if not self._is_loaded:
            code_server.require_loaded(self._port)
            self._is_loaded = True
        return True


class Pulse:
    """Whether the heartbeats of all the daemon's loops move.

    They do when each has moved since this was made, and none has stood
    still for long since, by our own clock, whatever theirs does. A storage that
    cannot be asked, which `heartbeats` raises as `HomeError`, says nothing
    against the daemon, but is in its way.
    """

    def __init__(
        self, heartbeats: Callable[[], Heartbeats], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._monotonic = heartbeats, monotonic
        self._made = time.time()
        self._seen: Heartbeats | None = None
        self._moved: dict[str, float] = {}

    def __call__(self) -> bool | str:
        """Ask now."""
        now = self._monotonic()
        try:
            told = self._ask()
        except HomeError as error:
            self._moved = dict.fromkeys(self._moved, now)
            return str(error) if self._moved else False
        if self._seen is None:  # a daemon that was forked may have spoken before the first question
            self._moved = {loop: now for loop, at in told.items() if at is not None and at > self._made}
        else:
            self._moved |= {loop: now for loop, at in told.items() if at != self._seen.get(loop)}
        self._seen = told
        return all(now - self._moved.get(loop, float("-inf")) < STANDS_STILL for loop in told)


def _works(home: Path) -> bool:
    from carbonation_dagster.instance import launcher  # which may not go with Dagster's release

    try:
        return "pid" in launcher.ask(home, {}, patience=0)
    except launcher.NoWorkers:
        return False


def _serves(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=10) as answer:  # noqa: S310  # our own
            return bool(answer.status == 200)
    except OSError:  # which URLError and HTTPError are
        return False
