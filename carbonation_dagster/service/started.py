"""What the service has started: its processes and who supervises them, its heartbeat, its guard."""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import dagster as dg

from carbonation_core.config.loading import ACCEPTED_VARIABLE, ENVIRONMENT_VARIABLE, Config
from carbonation_core.errors import CarbonationError, DatabaseError
from carbonation_core.pipeline import in_force
from carbonation_core.project import Project
from carbonation_dagster.defs import runs
from carbonation_dagster.environment import DAGSTER_HOME, STOP_FILE, TICK_WAIT
from carbonation_dagster.logs.stream import ServiceLog
from carbonation_dagster.service import code_server, forked, orphans, processes, systemd
from carbonation_dagster.service.heartbeat import Heart
from carbonation_dagster.service.home import HomeError, prepare_home, require_room, unusable
from carbonation_dagster.service.lock import OwnFiles
from carbonation_dagster.service.metrics import MetricsServer
from carbonation_dagster.service.orphans import Guard
from carbonation_dagster.service.processes import (
    CODE_SERVER,
    DAEMON,
    LOCATION,
    WORKERS,
    Address,
    Part,
    Process,
)
from carbonation_dagster.service.supervisor import ServiceError, Supervisor

log = logging.getLogger(__name__)

PARTS_TIMEOUT = 12.0  # seconds for the parts to end
STOP_TIMEOUT = 15.5  # seconds for all that they started, too; what is left then is killed
LONGEST_TICK = 19.5  # seconds; the daemon starts no tick of a sensor while one is under way
THREADS = 64  # of the code server, besides two for each watch: for the UI, starts of runs, watches to come
SILENCE = 60.0  # seconds; a daemon that lives says so twice in this time
LONG_GONE = 3600.0  # seconds by which no clock is wrong that Dagster could work with
STEP = 0.2  # seconds between two looks for a daemon that lives
FORK_TIMEOUT = 5.0  # seconds for a part to be forked, before it is started by itself


@dataclass
class Setup:
    """Where the processes of the service are started, and with what.

    `given` is the environment of this process, `environment` that of all others.
    `home` is DAGSTER_HOME, somebody else's if it was given. `line` is the one to
    the code server, where that is ours.
    """

    own: OwnFiles
    given: Mapping[str, str]
    environment: Mapping[str, str]
    home: Path
    instance: dg.DagsterInstance
    port: int
    service_log: ServiceLog
    line: code_server.Line | None = None
    coming: Process | None = None  # a code server that has not taken over yet

    @cached_property
    def has_workers(self) -> bool:
        """Whether warm workers have the runs, and no code server."""
        return processes.has_warm_launcher(self.instance)

    @property
    def is_own_home(self) -> bool:
        """Whether nobody else starts processes in this home."""
        return DAGSTER_HOME not in self.given

    def parts(self, config: Config, ui: Address | None, is_over: Callable[[], bool]) -> list[Part]:
        """The processes that are to run; no daemon where one of somebody else's works.

        To know that may take a minute, in which `is_over` is asked often. Once it
        says so there is no daemon either: at its end it would have Dagster forget
        the heartbeats of one that may live.
        """
        level = self.service_log.dagster_level
        chosen = [self._code_server(config)]
        if self.has_workers:
            chosen.append(processes.workers_part(self.home, with_ui=ui is not None))
        daemon = processes.daemon_part(self.own.workspace, self._heartbeats, level)
        if self.is_own_home:
            chosen.append(daemon)
        elif self._has_foreign_daemon(is_over):
            log.warning(
                "DAGSTER_HOME %s has a daemon of its own, so none is started. Have its workspace load "
                "the code server: dagster-daemon run -w %s",
                self.home,
                self.own.workspace,
            )
        elif not is_over():
            chosen.append(daemon)
        if ui is not None:
            chosen.append(processes.web_server_part(ui, self.own.workspace, level))
        if self.has_workers:
            return [part if part.name == WORKERS else replace(part, origin=WORKERS) for part in chosen]
        return chosen

    def start(self, part: Part, patience: float = FORK_TIMEOUT) -> Process:
        """The process of a part; what it writes goes to the service's log."""
        if part.name != CODE_SERVER or not self.has_workers:
            with Path(os.devnull).open("rb") as nothing:
                return self._started(part, nothing.fileno(), patience)
        line = code_server.Line()
        with line.theirs as theirs:
            process = self._started(part, theirs.fileno(), patience)
        self.line = line
        return process

    def _started(self, part: Part, line: int, patience: float) -> Process:
        """It is forked from the one that has all loaded; or started by itself, where that cannot be."""
        with self.service_log.outlet(part.name) as (output, error):
            if part.origin is not None:
                try:
                    return forked.fork(part.command, self.home, (line, output, error), self.home, patience)
                except forked.CannotForkError as why:
                    log.warning("the %s is started by itself, and not forked: %s", part.name, why)
            return processes.start(part, self.environment, self.home, (line, output, error))

    def before_start(self, part: Part, running: Collection[int]) -> None:
        """Let Dagster see as ended the runs of an earlier code server, if nothing lives that works on any.

        `running` are the processes of the other parts; what these have started, as
        idle workers, has no such run.
        """
        if part.name != CODE_SERVER or not self.is_own_home:
            return
        with orphans.leftovers(self.own.stop_mark) as alive:
            if any(one.pid not in running and one.parent not in running for one in alive):
                return
        try:
            runs.report_orphans(self.instance)
        except Exception:  # the daemon's monitoring and our leases find them, too, only later
            log.exception("runs that died could not be reported to Dagster")

    def apply(self, before: Project, changed: Project) -> Process | None:
        """Have the log, Dagster, the definitions and all processes of the site go on with that configuration.

        Returns the successor of a code server that has no runs; one that may have
        some sees to that itself. Where it cannot load them, no process is to have
        that configuration: each run would give back what the sensors offer.
        """
        self.service_log.configure(changed.config)
        prepare_home(changed.config, dict(self.given))
        text = self.own.accepted_config.read_bytes()
        self.own.accept(changed.config)
        try:
            in_force.accept(changed)
            if self.has_workers:
                return self._successor(changed.config)
            code_server.reload(self.port)
        except CarbonationError:
            self.own.accept_text(text)
            with suppress(DatabaseError):
                in_force.accept(before)
            raise
        return None

    def wants_reload(self) -> bool:
        """Whether somebody has asked the code server to load the definitions anew."""
        return self.line is not None and self.line.wants_reload()

    def refuse_reload(self, why: str) -> None:
        """Answer whoever asked."""
        if self.line is not None:
            self.line.refuse(why)

    def _code_server(self, config: Config) -> Part:
        level = self.service_log.dagster_level
        return processes.code_server_part(config, self.port, level, has_runs=not self.has_workers)

    def _successor(self, config: Config) -> Process:
        before = self.line
        part = replace(self._code_server(config), origin=WORKERS)
        process = self.coming = self.start(part, patience=code_server.RELOAD_TIMEOUT)
        assert self.line is not None
        try:
            self.line.require_loaded()
        except code_server.LoadError:
            self.line.close()
            self.line = before
            process.kill()
            process.wait()
            raise
        if before is not None:
            before.close()
        return process

    def _heartbeats(self) -> processes.Heartbeats:
        if self.is_own_home:
            require_room(self.home)
        try:
            return runs.heartbeats(self.instance)
        except Exception as error:
            raise HomeError(unusable(self.home, error)) from error

    def _has_foreign_daemon(self, is_over: Callable[[], bool]) -> bool:
        """Whether somebody else's daemon works on this instance: its heartbeats move.

        By our own clock, as that of a host that died may have been before ours, or behind.
        """
        seen, began = self._heartbeats(), time.monotonic()
        if all(at is None or at < time.time() - LONG_GONE for at in seen.values()):
            return False
        log.info("whether another daemon works in DAGSTER_HOME %s is seen within a minute", self.home)
        while not is_over() and time.monotonic() - began < SILENCE:
            if self._heartbeats() != seen:
                return True
            time.sleep(STEP)
        return False


@dataclass(frozen=True)
class Started:
    """All that runs for the service, besides this process."""

    setup: Setup
    supervisor: Supervisor
    heart: Heart
    metrics: MetricsServer
    guard: Guard

    def step(self) -> None:
        """See to everything; raises `ServiceError` when a part cannot be brought to work."""
        self.supervisor.step()
        self.guard.keep()
        self.heart.beat_when_due(self.supervisor.reports())

    def succeed(self, successor: Process) -> None:
        """Have another code server take over."""
        self.setup.coming = None
        self.supervisor.succeed(CODE_SERVER, successor)

    def follow(self, project: Project) -> None:
        """Tell of that one from now on."""
        self.heart.follow(project)
        self.metrics.follow(project)

    def renew_daemon(self) -> None:
        """Start our daemon anew, if there is one.

        It reads dagster.yaml when it starts, and would see other definitions only after a minute.
        """
        if self._has_daemon:
            self.supervisor.renew(DAEMON)

    def stop(self, error: str | None) -> None:
        """End it all, and say in the database what made it end."""
        began, mark = time.monotonic(), self.setup.own.stop_mark
        mark.touch()
        if self.setup.coming is not None:
            self.setup.coming.terminate()
        self.supervisor.stop(began + PARTS_TIMEOUT)
        orphans.end(mark, began + STOP_TIMEOUT)
        if self._has_daemon:
            with suppress(Exception):
                runs.forget_heartbeats(self.setup.instance)
        self.metrics.close()
        self.heart.end(error)

    @property
    def _has_daemon(self) -> bool:
        return any(report.name == DAEMON for report in self.supervisor.reports())


@contextmanager
def started(
    project: Project,
    ui: Address | None,
    service_log: ServiceLog,
    own: OwnFiles,
    is_over: Callable[[], bool],
) -> Iterator[Started]:
    """What runs for a project, each process from a `step` on in which its turn comes; ended afterwards.

    Where it takes long to know what is to run, `is_over` is asked whether that is still wanted.
    """
    config, given = project.config, dict(os.environ)
    home = prepare_home(config)
    with dg.DagsterInstance.get() as instance:
        own.accept(config)
        in_force.accept(project)
        with Guard(own.stop_mark) as guard:
            port = _port(own.workspace)
            server = {"host": code_server.HOST, "port": port, "location_name": LOCATION}
            own.workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}), encoding="utf-8")
            environment = {
                **_environment(config, own, runs.tick_threads(instance)),
                **service_log.environment,
            }
            setup = Setup(own, given, environment, home, instance, port, service_log)
            parts = setup.parts(config, ui, is_over)
            supervisor = Supervisor(parts, setup.start, log.warning, setup.before_start)
            uses_queue = processes.has_queue_launcher(instance)
            heart = Heart(project, ui.url if ui else None, uses_queue)
            made = Started(setup, supervisor, heart, MetricsServer(project), guard)
            error: str | None = None
            try:
                yield made
            except ServiceError as fault:
                error = str(fault)
                raise
            finally:
                made.stop(error)


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
