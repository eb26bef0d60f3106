"""The hands of a pass: what executes its batches, in a thread of its process or in forks of it.

A fork has all that the pass has loaded, and works beside it. Where a fork would lack
threads that the plugin has started, the pass has one hand, its own.

Either way a batch is not executed in a main thread: there Dagster would take a signal
for the end of this run only, or for nothing.
"""

import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener
from typing import Protocol

from carbonation_core.logs import records
from carbonation_core.pipeline.batch_report import BatchReport
from carbonation_core.pipeline.claim import Offer
from carbonation_core.project import Project
from carbonation_dagster.instance.forks import may_fork
from carbonation_dagster.instance.storages import close_kept

WORTH = 100  # groups; a fork for fewer costs more than it saves

_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Done:
    """What came of a batch, and what went wrong outside of its groups."""

    reports: tuple[BatchReport, ...]
    error: str | None


Run = Callable[[Offer], Done]


class Flag(Protocol):
    """An event of threads, or of processes."""

    def set(self) -> None:
        """It has happened."""

    def is_set(self) -> bool:
        """Whether it has happened."""


@dataclass(frozen=True)
class Hands:
    """Executes `run` for offers, `number` at a time. With `interrupted` all stop at the next group."""

    executor: Executor
    run: Run
    number: int
    interrupted: Flag


def number_of_hands(project: Project, groups: int) -> int:
    """How many batches a pass over so many groups should work on at a time."""
    if groups < WORTH or not may_fork():
        return 1
    return min(project.config.service.slots, -(-groups // WORTH))


@contextmanager
def hands(project: Project, number: int, run_with: Callable[[Callable[[], bool]], Run]) -> Iterator[Hands]:
    """So many hands. `run_with` makes what they do of how they ask whether they were interrupted.

    Waits for the batches under way.
    """
    if number == 1:
        here = threading.Event()
        with ThreadPoolExecutor(1) as thread:
            yield Hands(thread, run_with(here.is_set), 1, here)
        return
    interrupted, lines = _FORK.Event(), _FORK.Queue()
    close_kept()
    project.engine.dispose()
    gc.freeze()  # else each fork would copy what it only looks at
    begin = (run_with(interrupted.is_set), project, lines, logging.getLogger().level)
    with ProcessPoolExecutor(number, _FORK, _begin, begin) as forks:
        forks.submit(os.getpid).result()  # all of them are made now, before this process has a second thread
        handler = records.begun()
        listener = QueueListener(lines, *([handler] if handler else []))
        listener.start()
        try:
            yield Hands(forks, _run, number, interrupted)
        finally:
            forks.shutdown(cancel_futures=True)
            listener.stop()


_run_here: Run


def _begin(run: Run, project: Project, lines: "multiprocessing.Queue[logging.LogRecord]", level: int) -> None:
    """Make a fork ready: its signals, its log, its connections."""
    global _run_here  # as it cannot be sent
    _run_here = run
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which the pass hears, too
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_pass, daemon=True).start()
    records.begin(level, QueueHandler(lines))
    project.engine.dispose(close=False)


def _end_with_the_pass() -> None:
    """A pass that is killed leaves nobody at work."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _run(offer: Offer) -> Done:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_run_here, offer).result()
