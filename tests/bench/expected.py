"""What expected arrivals cost, and groups of many members, beside groups by stem."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from carbonation_core.db.engine import writing
from carbonation_core.db.models import ExpectedArrival
from carbonation_core.delivery.observe import observe
from carbonation_core.lifecycle import ArrivalState
from carbonation_core.project import Project, open_project
from carbonation_core.reports.arrivals import board
from carbonation_core.rules.arrivals import slots
from tests.bench.filled import analyse
from tests.bench.plain import seconds
from tests.bench.processes import alone
from tests.bench.project import SETTLE, Bench, project
from tests.bench.table import Row

YEAR = 100_000  # expected arrivals
BEAT = timedelta(days=365) / YEAR
MONTH = timedelta(days=30)
TIMES = 9
CHANNELS = SEGMENTS = range(1, 13)
PORTION = 5_000  # rows in a statement
EXPECT = f"""
[[watch.expect]]
every = "{int(BEAT.total_seconds())}s"
within = "2m"
match = "run*"
"""
PATTERN = """
[instrument.completeness]
group_by = "pattern"
patterns = "s{start:%Y%m%d%H%M}.{channel:d}-{segment:d}"
key = ["start"]
slot = "1m"
required = [{ channel = "1-12", segment = "1-12" }]
"""
MEMBERS = [f".{channel}-{segment}" for channel in CHANNELS for segment in SEGMENTS]
STEM = f"""
[instrument.completeness]
group_by = "stem"
expected_extensions = {json.dumps(MEMBERS)}
"""
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def expected(full: bool) -> Iterator[Row]:
    """A board of a year, ticks beside it, and slots of 144 files."""
    with project() as bench:
        bare = alone(ticks, bench.config)
    with project() as bench:
        text = bench.config.read_text()
        bench.config.write_text(text.replace("[[archive]]", f"{EXPECT}\n[[archive]]", 1))
        month, idle, pair = alone(of_a_year, bench.config)
    work = f"{YEAR:,} expected arrivals in a year"
    yield Row(f"{work}: the board of a month", month * 1000, "ms", target=300)
    for name, figure, floor in zip(("nothing new", "one pair new"), (idle, pair), bare, strict=True):
        said = f"{work}: a tick with {name}: CPU"
        yield Row(said, figure * 1000, "ms", floor * 1000, "none expected", 1.25 * floor * 1000 + 1)
    number = 500 if full else 50
    with project() as bench:
        stem = alone(looks, bench.config, STEM, number)
    with project() as bench:
        pattern = alone(looks, bench.config, PATTERN, number)
    work = f"{number} slots of {len(MEMBERS)} files, observed and grouped by a pattern: CPU"
    yield Row(work, pattern, "s", stem, "by stem", 1.3 * stem)


def of_a_year(config: Path) -> tuple[float, float, float]:
    """Seconds of a month's board, and CPU of ticks beside it."""
    opened = open_project(config)
    observe(opened, "incoming")
    fill(opened)
    month = median(seconds(lambda: board(opened)) for _ in range(TIMES))
    opened.engine.dispose()
    return month, *ticks(config)


def ticks(config: Path) -> tuple[float, float]:
    """CPU seconds of a look that finds nothing, and of one that finds a pair."""
    opened = open_project(config)
    sender = Bench(config.parent, {}, 0)
    observe(opened, "incoming")
    idle, pair = [], []
    for _ in range(TIMES):
        idle.append(cpu(opened))
        sender.deliver(1)
        pair.append(cpu(opened))
    opened.engine.dispose()
    return median(idle), median(pair)


def cpu(opened: Project) -> float:
    began = time.process_time()
    observe(opened, "incoming")
    return time.process_time() - began


def looks(config: Path, rules: str, number: int) -> float:
    """CPU seconds until all files of so many slots have settled and are in their groups."""
    (config.parent / "rules.toml").write_text(f'[instrument]\narchive = "main"\n{rules}')
    opened = open_project(config)
    for minute in range(number):
        name = f"s{FIRST + timedelta(minutes=minute):%Y%m%d%H%M}"
        for member in MEMBERS:
            (config.parent / "incoming" / (name + member)).write_bytes(b"1")
    took = cpu(opened)
    time.sleep(SETTLE + 0.1)
    took += cpu(opened)
    ready = observe(opened, "incoming").ready
    if ready != number:
        raise RuntimeError(f"{ready} of {number} are ready")
    opened.engine.dispose()
    return took


def fill(opened: Project) -> None:
    """A year of arrivals that came, but for each hundredth, and the rows that looks make ahead."""
    watch = opened.config.watch_named("incoming")
    now = opened.clock()
    rows = [
        {
            "watch_name": watch.name,
            "expectation": watch.expect[0].label,
            "at": slot.at,
            "opens_at": slot.opens_at,
            "late_at": slot.late_at,
            "missed_at": slot.missed_at,
            "state": ArrivalState.ARRIVED if number % 100 else ArrivalState.MISSED,
            "arrived_at": slot.at + timedelta(seconds=number % 90) if number % 100 else None,
        }
        for number, slot in enumerate(
            slots(watch.expect[0], now - timedelta(days=365), now - watch.expect[0].every)
        )
    ]
    with writing(opened.engine) as connection:
        for start in range(0, len(rows), PORTION):
            connection.execute(ExpectedArrival.__table__.insert(), rows[start : start + PORTION])
    analyse(opened.engine)
