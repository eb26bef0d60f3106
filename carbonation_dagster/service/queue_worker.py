"""`carbonation worker`: takes runs from queues of Celery and executes them, some at a time.

It is Celery's own worker, in this process. Its children are forked when all that
runs need is loaded, and one is renewed after some runs: plugins leak.
"""

import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import dagster as dg
from billiard.exceptions import WorkerLostError
from billiard.util import get_logger
from celery import Celery, signals
from celery.apps.worker import Worker
from celery.exceptions import Reject, SecurityWarning
from celery.worker import state
from dagster._cli.api import _execute_run_command_body
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster._utils.interrupts import capture_interrupts
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.make_app import make_app

from carbonation_core.config.loading import ENVIRONMENT_VARIABLE, load_config
from carbonation_core.db.service import WORKER
from carbonation_core.errors import CarbonationError, ConfigError
from carbonation_core.logs.records import SUCCESS
from carbonation_core.process import host_name, this_process
from carbonation_core.project import Project, installed_release, release
from carbonation_core.reports import heartbeat, workers
from carbonation_core.reports.heartbeat import NameTakenError
from carbonation_core.rules.hosts import hosts_of_all
from carbonation_core.text import ago, format_duration
from carbonation_dagster.defs.naming import queue_of
from carbonation_dagster.defs.runs import report_dead
from carbonation_dagster.instance.celery import TAKEN_TAG, QueueRunLauncher
from carbonation_dagster.instance.launcher import HOST_TAG, WORKER_TAG
from carbonation_dagster.instance.storages import close_kept
from carbonation_dagster.instance.worker import as_it_was, load
from carbonation_dagster.logs import sender
from carbonation_dagster.logs.stream import ServiceLog
from carbonation_dagster.service.heartbeat import AGAIN
from carbonation_dagster.service.systemd import Systemd

MOST_RUNS = 50  # of one child, after which it is renewed
LOOKS = 1.0  # seconds between two looks at how many runs there are
PAUSE = 2.0  # seconds after which a run goes back into its queue that could not even be begun
SHARED = "dagster"  # the queue of runs that any host may execute

log = logging.getLogger(__name__)


class WorkerError(CarbonationError):
    """The worker cannot work as things are."""


def serve(project: Project, slots: int, service_log: ServiceLog) -> "QueueWorker":
    """Work until SIGTERM, which lets runs in hand end.

    SIGHUP, and another configuration or plugin on disk, end it, too, and it is to
    begin anew. Raises `CarbonationError` when it may not begin.
    """
    os.environ[ENVIRONMENT_VARIABLE] = str(project.config.path)
    launcher = _launcher()
    require_fitting(project)
    wait_for_name(project)
    load()
    warnings.filterwarnings("ignore", category=SecurityWarning)  # of root: messages are JSON, and run nothing
    queues = queues_of(project)
    worker = QueueWorker(project, _app(launcher, project), slots, queues)
    project.engine.dispose()
    close_kept()  # the children shall have connections of their own
    with service_log.outlet("worker") as streams:

        def begin_child(**_: object) -> None:
            for ours, theirs in zip(streams, (1, 2), strict=True):
                os.dup2(ours, theirs)
            sender.begin(project.config.logging.level)

        signals.worker_process_init.connect(begin_child)
        worker.work()
    return worker


def queues_of(project: Project) -> tuple[str, ...]:
    """Those whose runs this host may have: the shared one, its own, and those of hosts that it is one of."""
    host = host_name()
    chosen = [hosts_of_all(project.config), *workers.hosts_by_watch(project).values()]
    return (SHARED, *sorted({host, *(queue_of(hosts) for hosts in chosen if host in hosts)}))


def require_fitting(project: Project) -> None:
    """Raise `CarbonationError` where this host would not be one of the service's."""
    config = project.config
    if config.service.site is None:
        raise ConfigError(
            f'{config.path}: [service]: site: should be set, as "north", and be the same on each host'
        )
    head = heartbeat.service_of(project)
    is_heard = head is not None and project.clock() - head.last_heartbeat <= config.service.allowed_silence
    if head is not None and head.is_running and is_heard and head.release != release():
        raise WorkerError(
            f"the service on host {head.host} is release {head.release}, and this is {release()}; "
            "install the same on both"
        )
    other = workers.another_here(project)
    if other is not None and other.pid is not None:
        raise WorkerError(f"a worker runs on this host already, with pid {other.pid}; --slots gives it more")


def wait_for_name(project: Project, pause: Callable[[float], object] = time.sleep) -> None:
    """Wait until no other worker speaks under the name of this host.

    One that cannot be seen from here may have ended without a word, as its container was
    made anew or its host lost its power: then it says nothing more. Raises `WorkerError`
    when it does, as it is on another host then.
    """
    other = first = workers.another_here(project)
    if first is None:
        return
    silence = format_duration(project.config.service.allowed_silence)
    waits = (
        f"waits: a worker that was called {first.host}, too, was heard {ago(first.age)} ago, and cannot be "
        f"seen from here; this one begins when that one has said nothing for {silence}"
    )
    log.warning("%s", waits)
    Systemd().ready(waits)
    with _ends_at_once():
        while other is not None:
            speaks = (other.process, other.last_heartbeat) != (first.process, first.last_heartbeat)
            if speaks and not other.drains:  # one that drains makes room
                raise WorkerError(
                    f"another worker of site {project.config.service.site_name} lives on a host that is "
                    f"called {first.host}, too; give each host a name of its own"
                )
            pause(LOOKS)
            other = workers.another_here(project)


@contextmanager
def _ends_at_once() -> Iterator[None]:
    """SIGTERM ends this process, also as the first one of a container; SIGHUP does not."""
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0)),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # a change is looked for later
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _launcher() -> QueueRunLauncher:
    with dg.DagsterInstance.get() as instance:
        launcher = instance.run_launcher
        if isinstance(launcher, QueueRunLauncher):
            return launcher
        raise WorkerError(
            f"dagster.yaml in {instance.root_directory} has the run launcher {type(launcher).__name__}, "
            "which puts no runs into a queue; docs/several-hosts.md has a dagster.yaml that does"
        )


def _app(launcher: QueueRunLauncher, project: Project) -> Celery:
    """The application of Celery as dagster.yaml has it, and a task of ours by the name of Dagster's."""
    app: Celery = make_app(app_args=launcher.app_args())  # type: ignore[no-untyped-call]
    # Redis hands out again what was not acknowledged for so long; a run may take that time.
    longest = project.config.service.max_runtime.total_seconds() + 3600
    app.conf.update(
        worker_prefetch_multiplier=1,
        # A message is acknowledged at the end of its run: so none waits at a worker that
        # is busy, or lost with one that dies. One that comes twice is left alone.
        task_acks_late=True,
        task_ignore_result=True,
        worker_max_tasks_per_child=MOST_RUNS,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": longest, **app.conf.broker_transport_options},
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_redirect_stdouts=False,
    )
    app.task(_taken, name=TASK_EXECUTE_JOB_NAME)
    return app


def _run_of(packed: Mapping[str, Any]) -> str:
    return unpack_value(packed["execute_job_args_packed"], as_type=ExecuteRunArgs).run_id


def _taken(**packed: Any) -> None:
    """Execute a run, in a child; what cannot be executed now, as the database is away, goes back."""
    run_id = _run_of(packed)
    try:
        _execute(run_id)
    except Exception as error:
        log.warning("run %s goes back into its queue: %s: %s", run_id, type(error).__name__, error)
        time.sleep(PAUSE)
        raise Reject(error, requeue=True) from error


def _execute(run_id: str) -> None:
    with as_it_was(), capture_interrupts(), dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is None or run.status is not dg.DagsterRunStatus.STARTING:
            log.info("run %s is left alone: it is %s", run_id, run.status.value if run else "gone")
            return
        tags = {WORKER_TAG: this_process(run_id), HOST_TAG: host_name(), TAKEN_TAG: _MAIN}
        instance.add_run_tags(run_id, tags)
        _execute_run_command_body(run_id, instance, lambda event: None, set_exit_code_on_failure=False)


_MAIN = this_process(WORKER)


class QueueWorker(Worker):  # type: ignore[misc]  # Celery has no types
    """Celery's worker, which says in our database how it does."""

    def __init__(self, project: Project, app: Celery, slots: int, queues: tuple[str, ...]) -> None:
        self._project, self._slots, self._queues = project, slots, queues
        self._systemd = Systemd()
        self._drains = False
        self._ends = threading.Event()
        self._voice = threading.Thread(target=self._speak, name="heart", daemon=True)
        self.begins_anew = False
        self.has_lost_its_name = False
        signals.setup_logging.connect(_has_its_log)
        signals.task_failure.connect(_report_lost)
        get_logger()  # it gives the level SUCCESS another name, once
        logging.addLevelName(SUCCESS, "SUCCESS")
        super().__init__(
            app=app,
            hostname=f"carbonation@{host_name()}",
            concurrency=slots,
            queues=list(queues),
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )

    def work(self) -> None:
        """Take runs until a signal comes."""
        self.start()
        self._ends.set()
        if self._voice.ident is not None:
            self._voice.join()
            workers.end(self._project)
        log.info("the worker has stopped")

    def on_consumer_ready(self, consumer: object) -> None:
        """Say that the broker was reached; also after each time that it was away."""
        super().on_consumer_ready(consumer)
        if self._voice.ident is None:
            log.info(
                "takes runs from %s, %d at a time; SIGTERM ends it", ", ".join(self._queues), self._slots
            )
            self._systemd.ready(f"{self._slots} slots")
            self._voice.start()

    def install_platform_tweaks(self, worker: object) -> None:
        """Heed signals as the service does."""
        super().install_platform_tweaks(worker)
        signal.signal(signal.SIGHUP, lambda number, frame: self._begin_anew())
        end: Any = signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: FrameType | None) -> None:
            log.info("is stopping: runs in hand go on to their end, and no other begins")
            self._drains = True
            self._systemd.stopping()
            end(number, frame)

        signal.signal(signal.SIGTERM, stop)

    def _begin_anew(self) -> None:
        self.begins_anew = self._drains = True
        state.should_stop = 0

    def _speak(self) -> None:
        interval = self._project.config.service.heartbeat_interval.total_seconds()
        said: tuple[int, bool] | None = None
        silent_for, trouble = 0.0, ""
        while not self._ends.wait(LOOKS if said is not None else 0):
            busy, drains = len(state.active_requests), self._drains
            silent_for += LOOKS
            if said == (busy, drains) and silent_for < interval:
                continue
            try:
                if said is None:
                    workers.begin(self._project, self._slots, self._queues)
                else:
                    workers.beat(self._project, self._slots, busy, self._queues, drains=drains)
                self._look_for_changes()
                silent_for, trouble = 0.0, ""
            except NameTakenError as error:  # whose runs are whose cannot be told
                log.error("%s", error)
                self.has_lost_its_name = True
                os.kill(os.getpid(), signal.SIGTERM)
                return
            except Exception as error:  # it must not end for that
                silent_for = interval - AGAIN
                if str(error) != trouble:
                    known = isinstance(error, CarbonationError)
                    log.error("the worker could not say that it lives: %s", error, exc_info=not known)
                trouble = str(error)
            finally:
                self._project.engine.dispose()  # no child inherits a connection
            said = busy, drains

    def _look_for_changes(self) -> None:
        """Begin anew when what runs are made with is not what is loaded here."""
        if self.begins_anew:
            return
        config, project = load_config(self._project.config.path), self._project
        is_changed = config.digest != project.config.digest or queues_of(project) != self._queues
        is_upgraded = installed_release() not in (None, release())
        if is_changed or is_upgraded or project.wanted != project.fingerprint:
            log.info(
                "configuration, rules, plugin or release have changed: "
                "begins anew when the runs in hand have ended"
            )
            os.kill(os.getpid(), signal.SIGHUP)


def _has_its_log(**_: object) -> None:
    """Celery leaves logging alone when somebody answers to this signal."""


def _report_lost(exception: BaseException, kwargs: Mapping[str, Any], **_: object) -> None:
    """Tell Dagster of a run whose child has died."""
    if not isinstance(exception, WorkerLostError):
        return
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(_run_of(kwargs))
        if run is not None and not run.is_finished:
            report_dead(instance, run, "the process of the run is gone")
    close_kept()
