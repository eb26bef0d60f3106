"""What was done since ever, counted as it is done: numbers that only grow, whatever history is forgotten.

They lie beside the sums of the watches, and are brought up to date as those are.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from carbonation_core.db import tallies
from carbonation_core.lifecycle import GivenBack, Outcome

# Seconds from delivery to the archive, each number the last of its bucket; more than a day is another.
BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0)
_FILES, _BYTES, _MILLISECONDS = "taken_files", "taken_bytes", "took_ms"
WHOLE = "done"  # how a run ends that gives nothing back
LEAST_WAIT = 0.1  # seconds; a process that has no core for a moment looks like one that waits
_RUNS, _WAITED = "runs", "waited"


@dataclass(frozen=True, slots=True)
class Done:
    """What was done in a watch; `took` is how many groups came to the archive in the time of each bucket."""

    outcomes: dict[Outcome, int]
    given_back: dict[GivenBack, int]
    files: int
    bytes: int
    took: tuple[int, ...]
    seconds: float


def ended(connection: Connection, watch_name: str, outcomes: Iterable[Outcome]) -> None:
    """Groups of the watch came to these ends, in batches of theirs."""
    for outcome, number in Counter(outcomes).items():
        tallies.add(connection, watch_name, f"ended:{outcome}", number)
        if outcome is Outcome.GIVEN_BACK:
            tallies.add(connection, watch_name, f"back:{GivenBack.STOPPED}", number)


def given_back(connection: Connection, watch_name: str, why: GivenBack, number: int) -> None:
    """A batch that has ended gave so many groups of the watch back."""
    tallies.add(connection, watch_name, f"ended:{Outcome.GIVEN_BACK}", number)
    tallies.add(connection, watch_name, f"back:{why}", number)


def run_ended(connection: Connection, watch_name: str, host: str, why: GivenBack | None) -> None:
    """A run on that host has ended with a batch of the watch; `why` it gave some of it back, if it did."""
    tallies.add(connection, watch_name, f"{_RUNS}:{why or WHOLE}:{host}", 1)


_in_vain: WeakKeyDictionary[Engine, list[tuple[str, float]]] = WeakKeyDictionary()  # not yet counted


def waited_in_vain(engine: Engine, lock: str, seconds: float) -> None:
    """A transaction was broken off while it waited for that lock, and with it all that it counted."""
    _in_vain.setdefault(engine, []).append((lock, seconds))


@contextmanager
def counting_those_in_vain(connection: Connection) -> Iterator[None]:
    """Count what former transactions waited in vain by one that commits."""
    owed = _in_vain.pop(connection.engine, [])
    for lock, seconds in owed:
        waited(connection, lock, seconds)
    try:
        yield
    except BaseException:
        _in_vain.setdefault(connection.engine, []).extend(owed)
        raise


def waited(connection: Connection, lock: str, seconds: float) -> None:
    """The transaction waited so long for that lock, as "watch:incoming" or "feed"."""
    if seconds >= LEAST_WAIT:
        kind, _, of = lock.partition(":")
        watch_name = of if kind == "watch" else tallies.NO_WATCH
        tallies.add(connection, watch_name, f"{_WAITED}:{kind}", round(1000 * seconds))


def archived(
    connection: Connection, watch_name: str, files: int, size: int, took: Iterable[timedelta]
) -> None:
    """So many files and bytes of the watch were archived, each group so long after its delivery."""
    seconds = [max(0.0, one.total_seconds()) for one in took]
    tallies.add(connection, watch_name, _FILES, files)
    tallies.add(connection, watch_name, _BYTES, size)
    tallies.add(connection, watch_name, _MILLISECONDS, sum(round(1000 * one) for one in seconds))
    for bucket, number in Counter(bisect_left(BUCKETS, one) for one in seconds).items():
        tallies.add(connection, watch_name, _bucket(bucket), number)


def done(sums: Mapping[str, int]) -> Done:
    """What was done in a watch, by its sums."""
    sums = Counter(sums)
    return Done(
        outcomes={outcome: sums[f"ended:{outcome}"] for outcome in Outcome},
        given_back={why: sums[f"back:{why}"] for why in GivenBack},
        files=sums[_FILES],
        bytes=sums[_BYTES],
        took=tuple(sums[_bucket(number)] for number in range(len(BUCKETS) + 1)),
        seconds=sums[_MILLISECONDS] / 1000,
    )


def runs_ended(sums: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """How many runs have ended with batches of a watch, by host and how, by its sums."""
    found = {}
    for name, number in sums.items():
        what, _, rest = name.partition(":")
        if what == _RUNS:
            end, _, host = rest.partition(":")
            found[host, end] = number
    return found


def seconds_waited(sums: Mapping[str, int]) -> dict[str, float]:
    """How long transactions waited for each kind of lock, by the sums of a watch, or of none."""
    named = ((name.partition(":"), value) for name, value in sums.items())
    return {kind: value / 1000 for (what, _, kind), value in named if what == _WAITED}


def _bucket(number: int) -> str:
    bound = f"{BUCKETS[number]:g}" if number < len(BUCKETS) else "longer"
    return f"took:{bound}"
