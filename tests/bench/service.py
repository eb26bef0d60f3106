"""The running service: how soon, how fast, and what it costs, alone and when others like it wait."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from sqlalchemy import Engine, Select, func, select

from carbonation_core.db.models import Batch, FeedEntry
from tests.bench import plain
from tests.bench.processes import cpu, memory
from tests.bench.project import SETTLE, Bench, databases, project
from tests.bench.table import Row

WARM = 8.0  # seconds after the start that do not count
ALONE = "`import dagster`"


@dataclass
class Service:
    """One that runs, and what is asked of it from outside."""

    bench: Bench
    engine: Engine
    process: subprocess.Popen[Any]
    ready: float  # seconds from its start till it said so

    def archived(self) -> int:
        """Groups that are in the feed."""
        return self.asked(select(func.count()).select_from(FeedEntry))

    def runs(self) -> int:
        return self.asked(select(func.count()).select_from(Batch))

    def asked(self, count: Select[int]) -> int:
        """How many rows there are of something."""
        with self.engine.connect() as connection:
            return connection.execute(count).scalar_one()

    def wait_for(
        self, groups: int, seconds: float = 120, between: Callable[[], None] = lambda: None
    ) -> float:
        """Wait until so many are archived; the seconds it took."""
        began = time.monotonic()
        while self.archived() < groups:
            if time.monotonic() > began + seconds or self.process.poll() is not None:
                raise RuntimeError(f"{groups} groups were not archived\n{self.said()[-3000:]}")
            between()
            time.sleep(0.01)
        return time.monotonic() - began

    def said(self) -> str:
        return (self.bench.directory / "service.log").read_text()

    def cpu(self) -> float:
        return cpu(self.process.pid)

    def memory(self) -> float:
        return memory(self.process.pid)

    def idle(self, seconds: float) -> float:
        """Cores that it uses while nothing comes."""
        before = self.cpu()
        time.sleep(seconds)
        return (self.cpu() - before) / seconds

    def stop(self) -> float:
        """Seconds from SIGTERM till it is gone."""
        self.process.send_signal(signal.SIGTERM)
        return plain.seconds(lambda: self.process.wait(30))


@contextmanager
def serving(database: str, watches: int = 1, slots: int | None = None) -> Iterator[Service]:
    """A service with its UI, from when it is ready."""
    with project(database, watches, slots) as bench, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        with started(bench, "--port", str(port)) as service:
            yield service


@contextmanager
def started(bench: Bench, *options: str) -> Iterator[Service]:
    """A service of that project, from when it is ready."""
    log = bench.directory / "service.log"
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            bench.arguments("run", *options),
            env=bench.environment,
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
    service = Service(bench, bench.engine(), process, 0)
    try:
        while "Stop it with" not in service.said():
            if process.poll() is not None or time.monotonic() > began + 120:
                raise RuntimeError(f"the service does not start\n{service.said()[-3000:]}")
            time.sleep(0.05)
        service.ready = time.monotonic() - began
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        service.engine.dispose()


def deliveries(full: bool) -> Iterator[Row]:
    """One service on each database: idle, single pairs, a burst, a steady flow, the end."""
    for database in databases() if full else ["SQLite"]:
        with serving(database) as service:
            where = f", {database}"
            yield Row(
                f"ready after the start{where}", service.ready, "s", plain.start("dagster").seconds, ALONE, 6
            )
            time.sleep(WARM)
            idle = service.idle(30 if full else 12)
            yield Row(f"idle, 1 watch, with UI{where}", idle, "cores", 0, "nothing", 0.04)
            base = plain.start("dagster").megabytes
            yield Row(
                f"idle, 1 watch, with UI{where}: memory (PSS)", service.memory(), "MB", base, ALONE, 400
            )
            yield from singles(service, f"one pair, every 3 s{where}", 10 if full else 6, lambda: 3.0, idle)
            if full:
                yield from singles(
                    service, f"one pair, at random moments{where}", 12, lambda: random.uniform(1, 5), idle
                )
            yield from burst(service, f"burst of 5,000 pairs{where}", 5_000)
            if full:
                yield from steady(service, f"50 pairs/s for two minutes{where}", 120)
            yield Row(f"gone after SIGTERM{where}", service.stop(), "s", target=4)


def singles(
    service: Service, work: str, times: int, pause: Callable[[], float], idle: float
) -> Iterator[Row]:
    """Seconds from the last byte till it is archived, less the time to settle; CPU less the idle share."""
    floor, plain_cpu = plain.pair(service.bench.directory, 10)
    late, began, before = [], time.monotonic(), service.cpu()
    done = service.archived()
    for number in range(times):
        service.bench.deliver(1)
        took = service.wait_for(done + number + 1)
        late.append(max(0.0, took - SETTLE))
        time.sleep(max(0.0, pause() - took))
    cost = (service.cpu() - before - idle * (time.monotonic() - began)) / times
    is_by = "plain calls, synced"
    yield Row(f"{work}: half of them within, beyond settle", median(late), "s", floor, is_by, 0.3)
    tenth = quantiles(late, n=10, method="inclusive")[-1]
    yield Row(f"{work}: nine of ten within", tenth, "s", floor, is_by, 0.6)
    yield Row(f"{work}: the slowest", max(late), "s", floor, is_by, 1.5)
    yield Row(f"{work}: CPU each, less idle", cost, "s", plain_cpu, "plain calls", 0.45)


def burst(service: Service, work: str, pairs: int) -> Iterator[Row]:
    """All at once: moved into the watch by renames, as fast as the disk takes them."""
    directory = service.bench.directory
    source = directory / "burst"
    source.mkdir()
    service.bench.deliver(pairs, source)
    os.sync()
    copied = plain.copy(source, directory / "copied")
    done, runs = service.archived(), service.runs()
    began, first, sizes = time.monotonic(), 0.0, [0.0]
    for path in source.iterdir():
        path.rename(service.bench.incoming / path.name)

    def look() -> None:
        nonlocal first
        if not first and service.archived() > done:
            first = time.monotonic() - began
        if time.monotonic() - began > len(sizes):
            sizes.append(service.memory())

    service.wait_for(done + pairs, between=look)
    rate = pairs / (time.monotonic() - began)
    yield Row(f"{work}: rate", rate, "groups/s", pairs / copied, "`cp -r`, `sync`", 350, at_least=True)
    yield Row(f"{work}: first file after", first, "s", SETTLE, "settle", SETTLE + 2)
    yield Row(f"{work}: runs", service.runs() - runs, "runs", target=20)
    yield Row(f"{work}: most memory (PSS)", max(sizes), "MB", target=600)


def steady(service: Service, work: str, seconds: float, rate: int = 50) -> Iterator[Row]:
    """How far it lags behind an even flow, settle included, and whether its memory grows."""
    done, sent, lags, sizes = service.archived(), list[float](), [0.0], list[float]()
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        while len(sent) < now * rate:
            service.bench.deliver(1)
            sent.append(time.monotonic() - began)
        if now > len(lags):
            behind = service.archived() - done
            lags.append(time.monotonic() - began - sent[behind] if behind < len(sent) else 0.0)
            sizes.append(service.memory())
        time.sleep(0.01)
    service.wait_for(done + len(sent))
    third = len(sizes) // 3
    yield Row(f"{work}: the longest lag, settle included", max(lags), "s", SETTLE, "settle", 3)
    first, last = median(sizes[:third]), median(sizes[-third:])
    yield Row(f"{work}: memory (PSS), last third", last, "MB", first, "first third", 1.1 * first)


def watches(full: bool) -> Iterator[Row]:
    """What idling costs with more watches."""
    one = 0.0
    for number in (1, 20, 50) if full else ():
        with serving("SQLite", watches=number) as service:
            time.sleep(WARM + number / 2)
            idle = service.idle(30)
            one = one or idle
            target = {20: 0.10}.get(number)
            yield Row(f"idle, {number} watches, with UI", idle, "cores", one, "1 watch", target)
            target = {20: 400.0}.get(number)
            yield Row(f"idle, {number} watches, with UI: memory (PSS)", service.memory(), "MB", target=target)


def slots(full: bool) -> Iterator[Row]:
    """What more runs at a time give a burst."""
    one = 0.0
    for number in (1, 2, 4) if full else ():
        with serving("SQLite", slots=number) as service:
            time.sleep(WARM)
            rate = next(burst(service, f"burst of 3,000 pairs, `runs_at_once = {number}`", 3_000))
            one = one or rate.figure
            yield Row(rate.work, rate.figure, rate.unit, one, "1 at a time")
