"""Has runs executed by warm workers, and by Dagster's own launcher where there are none.

A run that starts a process spends most of its time on imports: 1.6 s of 2.
`carbonation_dagster.instance.pool` keeps processes that have done these. What is
used of Dagster here and there is not public; `tests/dagster/instance` notices
when it changes.
"""

import json
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._serdes import ConfigurableClassData

from carbonation_core.process import is_dead, pid_of

DEFINITIONS = "carbonation_dagster.definitions"
SOCKET = "workers.socket"  # in DAGSTER_HOME
LONGEST_WORD = 1 << 16  # bytes
PATIENCE = 5.0  # seconds; a pool that is renewed is back in three
STEP = 0.1  # seconds between two tries
LISTENING = "CARBONATION_WORKERS_SOCKET"  # the socket that this process goes on with when it begins anew
HOST_TAG = "carbonation/host"  # where a run is executed
WORKER_TAG = ".dagster/carbonation_worker"  # which process executes a run; hidden in the UI

log = logging.getLogger(__name__)


class NoWorkers(Exception):  # noqa: N818  # an answer
    """There is no pool, or it cannot execute runs."""


def ask(
    home: Path, question: Mapping[str, Any], patience: float, streams: Sequence[int] = ()
) -> dict[str, Any]:
    """What the pool of that home answers; raises `NoWorkers` when nobody does within `patience` seconds.

    `streams` are for a part that is to be forked; the answer has a `handle` of it.
    """
    end = time.monotonic() + patience
    while True:
        try:
            return _asked(home, question, streams)
        except OSError as error:
            if time.monotonic() >= end:
                raise NoWorkers(f"nobody answers at {home / SOCKET}: {error}") from error
        time.sleep(STEP)


def _asked(home: Path, question: Mapping[str, Any], streams: Sequence[int]) -> dict[str, Any]:
    directory = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as to:
            to.settimeout(PATIENCE)
            # By descriptor: the address of a socket may have 107 bytes, and a path more.
            to.connect(f"/proc/self/fd/{directory}/{SOCKET}")
            socket.send_fds(to, [json.dumps(question).encode()], streams)
            answer, handles, _, _ = socket.recv_fds(to, LONGEST_WORD, 1, socket.MSG_CMSG_CLOEXEC)
    finally:
        os.close(directory)
    if not answer:
        raise ConnectionResetError("ended without an answer")
    return {**json.loads(answer), **({"handle": handles[0]} if handles else {})}


def is_gone(asking: socket.socket) -> bool:
    """Whether who asked has given up."""
    poll = select.poll()
    poll.register(asking, select.POLLRDHUP)
    return bool(poll.poll(0))


def listening_at(home: Path) -> socket.socket:
    """The socket of this home, ours from before or a new one."""
    kept = os.environ.pop(LISTENING, None)
    if kept is not None:
        return socket.socket(fileno=int(kept))
    directory = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with suppress(FileNotFoundError):
        os.unlink(SOCKET, dir_fd=directory)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(f"/proc/self/fd/{directory}/{SOCKET}")
    os.close(directory)
    listening.listen(128)
    return listening


class WarmRunLauncher(DefaultRunLauncher):
    """Dagster's launcher, but for runs that a warm worker takes."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """As dagster.yaml says, which is nothing."""
        return cls(inst_data=inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand the run to a worker."""
        run = context.dagster_run
        if not _is_ours(run):
            super().launch_run(context)
            return
        try:
            answer = ask(self._home, {"run": run.run_id}, PATIENCE)
            if "worker" not in answer:
                raise NoWorkers(answer.get("error", "no worker"))
        except NoWorkers as error:
            log.warning("run %s gets a process of its own, as there is no warm worker: %s", run.run_id, error)
            super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Have a run end; whether it was told to."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or not _is_ours(run) or GRPC_INFO_TAG in run.tags:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]  # Dagster's is not annotated
        self._instance.report_run_canceling(run)
        with suppress(NoWorkers):
            if ask(self._home, {"terminate": run_id}, PATIENCE).get("told"):
                return True
        # A worker whose pool was killed ends with the run that it has: no other can be hit.
        worker = run.tags.get(WORKER_TAG, "")
        pid = pid_of(worker)
        if pid is None or is_dead(worker):
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """That Dagster may ask whether a run still has a worker."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the worker of a run lives, as far as this host can see."""
        worker = run.tags.get(WORKER_TAG)
        if worker is not None and is_dead(worker):
            return CheckRunHealthResult(WorkerStatus.FAILED, "the process of the run has ended")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def may_begin(self, run: dg.DagsterRun) -> bool:
        """Whether somebody still has a run that was launched seconds ago and has not begun.

        Nobody has it when launcher, pool and worker were killed in the moment of its launch.
        """
        worker = run.tags.get(WORKER_TAG)
        if worker is not None:
            return not is_dead(worker)
        if not _is_ours(run) or GRPC_INFO_TAG in run.tags:
            return True  # it has a process of its own, which Dagster asks for
        try:
            told = ask(self._home, {}, 0.0)
        except NoWorkers:
            return True  # the pool is being renewed; what comes next can say
        return run.run_id in {*told["workers"].values(), *told["waiting"]}

    @property
    def _home(self) -> Path:
        return Path(self._instance.root_directory)


def _is_ours(run: dg.DagsterRun) -> bool:
    """Whether it is a run of the definitions that the workers have loaded."""
    origin = run.job_code_origin
    pointer = origin.repository_origin.code_pointer if origin is not None else None
    return isinstance(pointer, ModuleCodePointer) and pointer.module == DEFINITIONS
