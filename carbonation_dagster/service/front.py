"""`carbonation run`: the parts of the service, started in order, kept alive, and stopped in time."""

import json
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import dagster as dg

from carbonation_core.config.loading import ACCEPTED_VARIABLE, ENVIRONMENT_VARIABLE, Config
from carbonation_core.project import Project
from carbonation_dagster.defs import runs
from carbonation_dagster.environment import DAGSTER_HOME, STOP_FILE, TICK_WAIT
from carbonation_dagster.logs.stream import ServiceLog
from carbonation_dagster.service import code_server, orphans, processes, systemd
from carbonation_dagster.service.heartbeat import Heart
from carbonation_dagster.service.home import HomeError, prepare_home, require_room, unusable
from carbonation_dagster.service.lock import OwnFiles, alone
from carbonation_dagster.service.orphans import Guard
from carbonation_dagster.service.processes import CODE_SERVER, DAEMON, LOCATION, Address, Part
from carbonation_dagster.service.reload import Rereading
from carbonation_dagster.service.supervisor import ServiceError, Supervisor
from carbonation_dagster.service.systemd import Systemd

log = logging.getLogger(__name__)

PARTS_TIMEOUT = 12.0  # seconds for the parts to end
STOP_TIMEOUT = 15.5  # seconds for all that they started, too; what is left then is killed
LONGEST_TICK = 19.5  # seconds; the daemon starts no tick of a sensor while one is under way
THREADS = 64  # of the code server, besides two for each watch: for the UI, starts of runs, watches to come
STEP = 0.2  # seconds between two looks at the parts
OUTDATED = 60.0  # seconds; a daemon that lives says so twice in this time


@dataclass
class Service:
    """The processes of one configuration."""

    project: Project
    ui: Address | None
    service_log: ServiceLog
    systemd: Systemd = field(default_factory=Systemd)
    _stop_asked: bool = False
    _reread_asked: bool = False
    _rereading: Rereading | None = None
    _is_ready: bool = False
    _heart: Heart = field(init=False, repr=False)
    _supervisor: Supervisor = field(init=False, repr=False)
    _guard: Guard = field(init=False, repr=False)
    _apply: Callable[[Config], None] = field(init=False, repr=False)

    def run(self) -> None:
        """Start all parts and keep them until a signal comes; raises `ServiceError` when that is no use."""
        config = self.project.config
        self.systemd.require_long_enough(config)
        with alone(config) as own, ExitStack() as stack:
            stack.enter_context(self._signals())
            orphans.end(own.stop_mark, time.monotonic() + orphans.TO_GIVE_BACK)
            own.stop_mark.unlink(missing_ok=True)
            if self.ui is not None:
                _require_free(self.ui)
            given = dict(os.environ)
            prepare_home(config)
            instance = stack.enter_context(dg.DagsterInstance.get())
            own.accept(config)
            self._guard = stack.enter_context(Guard(own.stop_mark))
            self._heart = Heart(self.project, self.ui.url if self.ui else None)
            self._supervised(own, instance, given)
            with self._stopped_at_the_end(own, instance):
                self._stay()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the service. SIGHUP reads again, unless our terminal is gone."""
        has_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

        def stop(number: int, frame: FrameType | None) -> None:
            self._stop_asked = True

        def hang_up(number: int, frame: FrameType | None) -> None:
            if has_terminal and not _has_terminal():
                self._stop_asked = True
            else:
                self._reread_asked = True

        # Also where SIGINT was ignored (a shell's background job): children
        # that inherit that would not end on SIGTERM either.
        handlers = {signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: hang_up}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, earlier in before.items():
                signal.signal(number, earlier)

    def _supervised(self, own: OwnFiles, instance: dg.DagsterInstance, given: dict[str, str]) -> None:
        config, home = self.project.config, Path(os.environ[DAGSTER_HOME])
        port = _port(own.workspace)
        server = {"host": code_server.HOST, "port": port, "location_name": LOCATION}
        own.workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}), encoding="utf-8")
        level = self.service_log.dagster_level

        def heartbeats() -> processes.Heartbeats:
            if DAGSTER_HOME not in given:
                require_room(home)
            try:
                return runs.heartbeats(instance)
            except Exception as error:
                raise HomeError(unusable(home, error)) from error

        chosen = [processes.code_server_part(config, port, level)]
        if processes.has_warm_launcher(instance):
            chosen.append(processes.workers_part(home))
        if DAGSTER_HOME in given and self._has_daemon(instance):
            log.warning(
                "DAGSTER_HOME %s has a daemon of its own, so none is started. Have its workspace load "
                "the code server: dagster-daemon run -w %s",
                home,
                own.workspace,
            )
        else:
            chosen.append(processes.daemon_part(own.workspace, heartbeats, level))
        if self.ui is not None:
            chosen.append(processes.web_server_part(self.ui, own.workspace, level))
        environment = {
            **_environment(config, own, runs.tick_threads(instance)),
            **self.service_log.environment,
        }

        def before_start(part: Part) -> None:
            if part.name == CODE_SERVER and DAGSTER_HOME not in given:
                self._report_orphans(own, instance)

        def apply(changed: Config) -> None:
            self.service_log.configure(changed)
            prepare_home(changed, dict(given))
            own.accept(changed)
            code_server.reload(port)

        def start(part: Part) -> subprocess.Popen[bytes]:
            with self.service_log.outlet(part.name) as streams:
                return processes.start(part, environment, home, streams)

        self._apply = apply
        self._supervisor = Supervisor(chosen, start, log.warning, before_start)

    def _has_daemon(self, instance: dg.DagsterInstance) -> bool:
        """Whether somebody else's daemon works on this instance: its heartbeats move."""
        seen = runs.heartbeats(instance)
        youngest = max((at for at in seen.values() if at is not None), default=0.0)
        while not self._stop_asked and time.time() - youngest < OUTDATED:
            if runs.heartbeats(instance) != seen:
                return True
            time.sleep(STEP)
        return False

    def _report_orphans(self, own: OwnFiles, instance: dg.DagsterInstance) -> None:
        """Let Dagster see as ended the runs of an earlier code server, if nothing lives that works on any."""
        ours = {report.pid for report in self._supervisor.reports()}
        with orphans.leftovers(own.stop_mark) as alive:
            if any(one.pid not in ours for one in alive):
                return
        try:
            runs.report_orphans(instance)
        except Exception:  # the daemon's monitoring and our leases find them, too, only later
            log.exception("runs that died could not be reported to Dagster")

    def _stay(self) -> None:
        self._heart.begin(())
        while not self._stop_asked:
            self._supervisor.step()
            self._guard.keep()
            self._heart.beat_when_due(self._supervisor.reports())
            self._see_to_rereading()
            if self._supervisor.is_well:
                if not self._is_ready:
                    self._is_ready = True
                    self._announce()
                if self._heart.moves:
                    self.systemd.feed_when_due()
            time.sleep(STEP)

    def _announce(self) -> None:
        if self.ui is not None:
            log.info("Dagster's UI: %s", self.ui.url)
        log.info("Carbonation runs; %s. Stop it with Ctrl-C or SIGTERM.", self._watches)
        self.systemd.ready(self._watches)

    @property
    def _watches(self) -> str:
        number = len(self.project.config.watch)
        return "1 watch" if number == 1 else f"{number} watches"

    def _see_to_rereading(self) -> None:
        if self._reread_asked and self._rereading is None and self._supervisor.is_well:
            self._reread_asked = False
            self.systemd.reloading()
            self._rereading = Rereading(self.project, self._apply)
        if self._rereading is None or self._rereading.result is None:
            return
        read, self._rereading = self._rereading.result, None
        for sentence in read.sentences:
            log.info("read again: %s", sentence)
        if read.project is not None:
            self.project = read.project
            self._heart.follow(read.project)
        if read.config_changed and any(report.name == DAEMON for report in self._supervisor.reports()):
            # It reads dagster.yaml when it starts, and would see other definitions only after a minute.
            self._supervisor.renew(DAEMON)
        self.systemd.ready(self._watches)

    @contextmanager
    def _stopped_at_the_end(self, own: OwnFiles, instance: dg.DagsterInstance) -> Iterator[None]:
        error: str | None = None
        try:
            yield
        except ServiceError as fault:
            error = str(fault)
            raise
        finally:
            began = time.monotonic()
            self.systemd.stopping()
            own.stop_mark.touch()
            self._supervisor.stop(began + PARTS_TIMEOUT)
            orphans.end(own.stop_mark, began + STOP_TIMEOUT)
            if any(report.name == DAEMON for report in self._supervisor.reports()):
                with suppress(Exception):
                    runs.forget_heartbeats(instance)
            self._heart.end(error)


def _environment(config: Config, own: OwnFiles, tick_threads: int) -> dict[str, str]:
    threads = str(2 * len(config.watch) + THREADS)  # a tick holds one
    sensors = len(config.watch) + 1
    return {
        **{name: value for name, value in os.environ.items() if name not in systemd.VARIABLES},
        ENVIRONMENT_VARIABLE: str(config.path),
        ACCEPTED_VARIABLE: str(own.accepted_config),
        STOP_FILE: str(own.stop_mark),
        # In a home that somebody else configures, a tick that waits could hold up the others.
        TICK_WAIT: str(LONGEST_TICK if tick_threads >= sensors else 0),
        "DAGSTER_GRPC_MAX_WORKERS": threads,
        "DAGSTER_CODE_SERVER_MAX_WORKERS": threads,
    }


def _port(workspace: Path) -> int:
    """The port of the code server: that of the last time, which others may have been told, if it is free."""
    before = 0
    with suppress(OSError, ValueError, LookupError):
        before = json.loads(workspace.read_text(encoding="utf-8"))["load_from"][0]["grpc_server"]["port"]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((code_server.HOST, before))
        except OSError:
            probe.bind((code_server.HOST, 0))
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


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
