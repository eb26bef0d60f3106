"""`carbonation run`: Dagster's code server, daemon and web server, started, watched and stopped."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from carbonation_core.config import ENVIRONMENT_VARIABLE, Config
from carbonation_core.errors import CarbonationError
from carbonation_core.project import Project
from carbonation_dagster.heart import Heart
from carbonation_dagster.home import HOME_VARIABLE, prepare_home
from carbonation_dagster.resources import STOP_VARIABLE, TICK_WAIT_VARIABLE

START_TIMEOUT = 120.0  # seconds for one process to become ready
STOP_TIMEOUT = 18.0  # seconds for all of them to end, then they are killed
LOCATION = "carbonation"
TICK_WAIT = 19.5  # seconds; the daemon starts no tick of a sensor while one is under way
_TERMINATE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


class ServiceError(CarbonationError):
    """The service cannot start, or a part of it ended."""


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


@dataclass
class Service:
    """The processes of one configuration. The project's database must not be in use yet: they are forked."""

    project: Project
    ui: Address | None
    say: Callable[[str], None]
    stop_asked: bool = False
    _heart: Heart = field(init=False)
    _parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self) -> None:
        """Start all parts and stay until a signal comes; raises `ServiceError` when one ends by itself."""
        if self.ui is not None:
            _require_free(self.ui)
        home = prepare_home(self.project.config)
        self._heart = Heart(self.project, self.ui.url if self.ui else None)
        stop_mark = home / "stopping"
        stop_mark.unlink(missing_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            # Also where SIGINT was ignored (a shell's background job): children
            # that inherit that would not end on SIGTERM either.
            signal.signal(number, self._asked_to_stop)
        try:
            self._start_all(home, stop_mark)
            self._heart.begin()
            self._stay()
            self._heart.end()
        except ServiceError as error:
            self._heart.end(str(error))
            raise
        finally:
            stop_mark.touch()
            self._stop_all()

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_asked = True

    def _start_all(self, home: Path, stop_mark: Path) -> None:
        grpc_port = _free_port()
        environment = _environment(self.project.config, stop_mark)
        workspace = home / "workspace.yaml"
        server = {"host": "127.0.0.1", "port": grpc_port, "location_name": LOCATION}
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}), encoding="utf-8")
        self._start("code server", _code_server(self.project.config, grpc_port), environment)
        self._wait_for("code server", lambda: _serves(grpc_port))
        self._start(
            "daemon", ["dagster._daemon", "run", "--log-level", "warning", "-w", str(workspace)], environment
        )
        if self.ui is not None:
            self._start("web server", _web_server(self.ui, workspace), environment)
            url = self.ui.url
            self._wait_for("web server", lambda: _answers(url))
            self.say(f"Dagster's UI: {url}")
        if not self.stop_asked:
            watches = len(self.project.config.watch)
            self.say(f"Carbonation runs; {watches} watches. Stop it with Ctrl-C or SIGTERM.")

    def _start(self, part: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        if self.stop_asked:
            return
        self._parts[part] = subprocess.Popen(  # noqa: S603  # our own words
            [sys.executable, "-m", *command],
            env=environment,
            # Dagster takes a `.env` of the directory it is started in for more
            # than the environment; one may name another configuration.
            cwd=environment[HOME_VARIABLE],
            stdout=_stderr(),
            start_new_session=True,  # Ctrl-C is ours to hand on, in order
            preexec_fn=_end_with_parent,  # this process has one thread
        )

    def _wait_for(self, part: str, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.stop_asked and not is_ready():
            self._require_alive()
            if time.monotonic() > deadline:
                raise ServiceError(f"the {part} was not ready within {START_TIMEOUT:.0f} s")
            time.sleep(0.2)

    def _stay(self) -> None:
        while not self.stop_asked:
            self._require_alive()
            self._heart.beat_when_due()
            time.sleep(0.2)

    def _require_alive(self) -> None:
        for part, process in self._parts.items():
            code = process.poll()
            if code is not None and not self.stop_asked:
                how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
                raise ServiceError(f"the {part} ended {how}; everything else is stopped")

    def _stop_all(self) -> None:
        """End all parts in the order daemon, web server, code server, in time, or by force."""
        deadline = time.monotonic() + STOP_TIMEOUT
        for part in ("daemon", "web server", "code server"):
            if part in self._parts:
                _end(self._parts[part], deadline)
        for process in self._parts.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what a part left behind
            process.wait()


def _end(process: subprocess.Popen[bytes], deadline: float) -> None:
    process.terminate()
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()


def _environment(config: Config, stop_mark: Path) -> dict[str, str]:
    threads = str(2 * len(config.watch) + 16)  # a tick holds one; so do the UI and each run's start
    return {
        **os.environ,
        ENVIRONMENT_VARIABLE: str(config.path),
        STOP_VARIABLE: str(stop_mark),
        TICK_WAIT_VARIABLE: str(TICK_WAIT),
        "DAGSTER_GRPC_MAX_WORKERS": threads,
        "DAGSTER_CODE_SERVER_MAX_WORKERS": threads,
    }


def _code_server(config: Config, port: int) -> list[str]:
    module = ["-m", "carbonation_dagster.definitions", "-d", str(config.directory)]
    place = ["-h", "127.0.0.1", "-p", str(port), "--location-name", LOCATION]
    return ["dagster", "code-server", "start", *place, "--log-level", "warning", *module]


def _web_server(ui: Address, workspace: Path) -> list[str]:
    place = ["-h", ui.host, "-p", str(ui.port), "-w", str(workspace)]
    return ["dagster_webserver", *place, "--dagster-log-level", "warning"]


def _stderr() -> IO[str] | int:
    # Our standard output is for results only; the parts' chatter is none.
    return sys.stderr.fileno()


def _end_with_parent() -> None:
    # prctl(2): when we are killed, nobody is left to stop them.
    ctypes.CDLL(None).prctl(_TERMINATE_WITH_PARENT, signal.SIGTERM)


def _serves(port: int) -> bool:
    import grpc  # type: ignore[import-untyped]
    from grpc_health.v1 import (  # type: ignore[import-untyped]
        health_pb2,
        health_pb2_grpc,
    )

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=2
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=2) as answer:  # noqa: S310  # our own
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _require_free(address: Address) -> None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise ServiceError(
                f"the UI cannot listen on {address.host} port {address.port}: {error.strerror}; "
                "choose another with --port, or none with --no-ui"
            ) from None
