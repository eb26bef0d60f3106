"""The process that is `carbonation run`: it starts the others, heeds signals, and ends them in time."""

import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from carbonation_core.project import Project, open_project
from carbonation_dagster.logs.stream import ServiceLog
from carbonation_dagster.service import orphans
from carbonation_dagster.service.head import Head
from carbonation_dagster.service.lock import OwnFiles, alone
from carbonation_dagster.service.processes import Address
from carbonation_dagster.service.reload import Reread, Rereading
from carbonation_dagster.service.started import Started, started
from carbonation_dagster.service.supervisor import ServiceError
from carbonation_dagster.service.systemd import Systemd

log = logging.getLogger(__name__)

STEP = 0.2  # seconds between two looks at what was started


class Front:
    """Runs the service of a project, in this process and those that it starts."""

    def __init__(self, project: Project, ui: Address | None, service_log: ServiceLog) -> None:
        self._project, self._ui, self._service_log = project, ui, service_log
        self._systemd = Systemd()
        self._stop_asked = False
        self._reread_asked = False
        self._has_worked = False

    def run(self) -> None:
        """Start everything and keep it until a signal comes; raises `ServiceError` when that is no use."""
        config = self._project.config
        self._systemd.require_long_enough(config)
        with alone(config) as own, self._signals(), Head(self._project) as head:
            orphans.end(own.stop_mark, time.monotonic() + orphans.TO_GIVE_BACK)
            if self._ui is not None:
                _require_free(self._ui)
            while self._wait_for(head):
                own.stop_mark.unlink(missing_ok=True)
                self._work(own, head)
            log.info("Carbonation has stopped.")

    def _wait_for(self, head: Head) -> bool:
        """Wait until this service is the head of its site; False once it is to stop."""
        said: str | None = None
        while not self._stop_asked and not head.is_ours:
            if head.obstacle not in (None, said):
                said = head.obstacle
                log.info("Carbonation waits: %s", said)
                self._systemd.ready(f"waits: {said}")
            if said is not None:
                self._systemd.feed_when_due()
            time.sleep(STEP)
        if self._stop_asked:
            self._systemd.stopping()
            return False
        if said is not None or self._has_worked:  # days ago, perhaps
            self._project = open_project(self._project.config.path)
            self._service_log.configure(self._project.config)
            head.follow(self._project)
            log.info("Carbonation waits no more: this host is the head of its site now")
        return True

    def _work(self, own: OwnFiles, head: Head) -> None:
        """Run everything until a signal comes, or another host may begin."""
        self._has_worked = True

        def is_over() -> bool:
            self._systemd.feed_when_due()
            return self._stop_asked or not head.is_ours

        with started(self._project, self._ui, self._service_log, own, is_over) as parts:
            try:
                self._keep(parts, head)
            finally:
                if self._stop_asked:
                    self._systemd.stopping()

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

    def _keep(self, parts: Started, head: Head) -> None:
        rereading: Rereading | None = None
        is_announced = False
        names = ", ".join(report.name for report in parts.supervisor.reports())
        log.info("Carbonation starts: %s. That takes some seconds.", names)
        parts.heart.begin(())
        while not self._stop_asked and head.is_ours:
            parts.step()
            rereading = self._reread(parts, head, rereading)
            if parts.supervisor.is_well:
                if not is_announced:
                    is_announced = True
                    self._announce()
                if parts.heart.moves:
                    self._systemd.feed_when_due()
            time.sleep(STEP)
        if not self._stop_asked:
            why = head.obstacle or "the database has not heard of it for too long"
            log.error("this host is the head of its site no more: %s; all parts end, and it waits", why)
            return
        log.info("Carbonation is stopping: groups under way are finished or given back, in 20 s at most.")

    def _reread(self, parts: Started, head: Head, under_way: Rereading | None) -> Rereading | None:
        """Begin to read again when that was asked for, or end it; what is under way then."""
        if under_way is None and parts.supervisor.is_well:
            by_ui = parts.setup.wants_reload()
            if self._reread_asked or by_ui:
                self._reread_asked = False
                self._systemd.reloading()
                under_way = Rereading(self._project, parts.setup.apply, by_ui)
        if under_way is None or under_way.result is None:
            return under_way
        self._go_on_with(under_way.result, parts, head)
        if under_way.by_ui and under_way.result.project is None:
            parts.setup.refuse_reload("; ".join(under_way.result.sentences))
        return None

    def _go_on_with(self, read: Reread, parts: Started, head: Head) -> None:
        for sentence in read.sentences:
            log.log(logging.INFO if read.project else logging.ERROR, "read again: %s", sentence)
        if read.successor is not None:
            parts.succeed(read.successor)
        if read.project is not None:
            self._project = read.project
            parts.follow(read.project)
            head.follow(read.project)
        if read.config_changed:
            parts.renew_daemon()
        self._systemd.ready(self._watches)

    def _announce(self) -> None:
        if self._ui is not None:
            log.info("Dagster's UI: %s", self._ui.url)
        log.info("Carbonation runs; %s. Stop it with Ctrl-C or SIGTERM.", self._watches)
        self._systemd.ready(self._watches)

    @property
    def _watches(self) -> str:
        number = len(self._project.config.watch)
        return "1 watch" if number == 1 else f"{number} watches"


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
