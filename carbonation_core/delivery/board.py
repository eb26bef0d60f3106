"""The board: what is expected, what came for it, and what is late.

It is kept by the looks at a watch, in their transaction. Rows are made ahead of
their time, and after a stop also for the time between. A group comes for a row when
its first file is grouped, and has arrived when it is whole.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from carbonation_core.config.expectations import Expect, digest
from carbonation_core.config.sections import Watch
from carbonation_core.db import arrivals, components, feed, groups
from carbonation_core.db.arrivals import ArrivalRow, NewRow
from carbonation_core.db.components import Component
from carbonation_core.db.engine import Connection
from carbonation_core.db.groups import GroupRow
from carbonation_core.db.service import WatchState
from carbonation_core.lifecycle import ArrivalState, FeedEvent, FileStatus
from carbonation_core.rules.arrivals import Window, closing, is_meant, nearest, slots, told
from carbonation_core.text import shown

log = logging.getLogger(__name__)

AHEAD = timedelta(days=1)  # so far rows are made; again when half of it has passed
FRESH = timedelta(minutes=1)  # a file that has not settled for longer holds nothing up
FEW = 5  # that are named one by one in the log
S = ArrivalState
NAMED = {
    FeedEvent.LATE: "is late",
    FeedEvent.MISSED: "is missed",
    FeedEvent.ARRIVED: "has come after all",
}


@dataclass(frozen=True, slots=True)
class Came:
    """A group that files came for: when the first and the last of them came, and whether it is whole."""

    group: GroupRow
    first_at: datetime
    last_at: datetime
    is_whole: bool


@dataclass
class Ledger:
    """What is to be written of one look."""

    attached: list[dict[str, Any]] = field(default_factory=list)
    changed: list[dict[str, Any]] = field(default_factory=list)
    unexpected: list[tuple[int, str, datetime]] = field(default_factory=list)
    news: list[tuple[ArrivalRow, int | None, FeedEvent]] = field(default_factory=list)

    def change(self, row: ArrivalRow, state: ArrivalState, **values: Any) -> None:
        """Another state of a row, and what the feed tells of it."""
        group_id = values.get("group_id", row.group_id)
        self.changed.append(
            {
                "id": row.id,
                "state": state,
                "group_id": group_id,
                "arrived_at": values.get("arrived_at"),
                "due_at": values.get("due_at"),
            }
        )
        event = told(row.state, state)
        if event is not None:
            self.news.append((row, group_id, event))


def is_due(watch: Watch, state: WatchState, now: datetime) -> bool:
    """Whether the board changes though nothing came."""
    if state.board_digest != digest(watch.expect):
        return True
    return state.board_due_at is not None and state.board_due_at <= now


def keep(
    connection: Connection,
    watch: Watch,
    state: WatchState,
    group_ids: Collection[int],
    now: datetime,
    retention: timedelta,
) -> WatchState:
    """Write what is expected, what these groups came for, and what is late; what is said of the watch then.

    Nothing is made for the time before `retention`.
    """
    said = digest(watch.expect)
    if said is None and state.board_digest is None:
        return state
    if said != state.board_digest:
        arrivals.withdraw(connection, watch.name, now)
    again_at = [_make(connection, watch.name, expect, now, now - retention) for expect in watch.expect]
    ledger = Ledger()
    _match(connection, watch, group_ids, ledger)
    _store(connection, watch.name, ledger, now)
    _close(connection, watch, now)
    next_due = arrivals.next_due(connection, watch.name)
    due_at = min(filter(None, [*again_at, next_due]), default=None)
    if said is None and due_at is None:
        return replace(state, board_digest=None, board_due_at=None)
    return replace(state, board_digest=said, board_due_at=due_at)


def _make(
    connection: Connection, watch_name: str, expect: Expect, now: datetime, earliest: datetime
) -> datetime:
    """Rows up to a day ahead; when to make more."""
    last = arrivals.last_made(connection, watch_name, expect.label)
    if last is None or last < now + AHEAD / 2:
        after = max(last, earliest) if last is not None else now
        previous = last if after == last else None
        made = slots(expect, after, now + AHEAD, previous)
        rows = (NewRow(s.at, s.opens_at, s.late_at, s.missed_at, s.key) for s in made)
        arrivals.make(connection, watch_name, expect.label, rows)
        last = arrivals.last_made(connection, watch_name, expect.label) or now + AHEAD
    return last - AHEAD / 2


def _match(connection: Connection, watch: Watch, group_ids: Collection[int], ledger: Ledger) -> None:
    """Find what these groups came for."""
    came = sorted(_came(connection, group_ids), key=lambda one: (one.first_at, one.group.id))
    known = arrivals.of_groups(connection, [one.group.id for one in came])
    by_key = arrivals.by_key(connection, watch.name, [one.group.group_key for one in came])
    taken: set[int] = set()
    for one in came:
        row = known.get(one.group.id)
        if row is not None and row.arrived_at is None:
            if one.is_whole:
                ledger.change(row, S.ARRIVED, arrived_at=one.last_at)
            continue
        if row is not None and row.arrived_at is not None and one.first_at <= row.arrived_at:
            continue  # none of its files, or only some of them, came anew
        row = _meant(connection, watch, one, by_key.get(one.group.group_key, ()), taken)
        if row is None:
            if any(is_meant(expect, one.group.group_key) for expect in watch.expect):
                ledger.unexpected.append((one.group.id, one.group.group_key, one.first_at))
            continue
        taken.add(row.id)
        if one.is_whole:
            ledger.change(row, S.ARRIVED, group_id=one.group.id, arrived_at=one.last_at)
        elif row.state in (S.LATE, S.MISSED):
            due_at = row.missed_at if row.state is S.LATE else None
            ledger.change(row, S.INCOMPLETE, group_id=one.group.id, due_at=due_at)
        else:
            ledger.attached.append({"id": row.id, "group_id": one.group.id})


def _meant(
    connection: Connection, watch: Watch, one: Came, under_key: Sequence[ArrivalRow], taken: set[int]
) -> ArrivalRow | None:
    """The row that a group came for: by its key, else by its time."""
    for row in under_key:
        if row.group_id is None and row.id not in taken:
            return row
    for expect in watch.expect:
        if expect.group_key is None and is_meant(expect, one.group.group_key):
            waiting = arrivals.waiting(connection, watch.name, expect.label, one.first_at)
            windows = {
                row.id: Window(row.at, row.opens_at, row.late_at) for row in waiting if row.id not in taken
            }
            found = nearest(one.first_at, windows)
            if found is not None:
                return arrivals.by_id(connection, [found])[0]
    return None


def _came(connection: Connection, group_ids: Collection[int]) -> Iterator[Came]:
    rows = groups.by_id(connection, group_ids)
    for id_, files in components.of_groups(connection, rows).items():
        times = [came_at(file) for file in files if file.status is not FileStatus.CLEARED]
        if times:
            row = rows[id_]
            is_asked = row.due_at is not None or row.batch_id is not None or row.complete
            yield Came(row, min(times), max(times), is_asked and row.timed_out_at is None)


def came_at(file: Component) -> datetime:
    """When a file came: when we saw it first, or before that, as the file system says."""
    if file.stamp.ctime_ns <= 0:
        return file.quiet_since
    return min(file.quiet_since, datetime.fromtimestamp(file.stamp.ctime_ns / 1e9, UTC))


def _close(connection: Connection, watch: Watch, now: datetime) -> None:
    """Say what is late and what is missed, as far as all that came until then is known."""
    settle = timedelta(seconds=watch.settle_seconds)
    unsettled = arrivals.unsettled_since(connection, watch.name, now - settle - FRESH)
    as_of = now if unsettled is None else min(now, unsettled)
    ledger = Ledger()
    for row in arrivals.due(connection, watch.name, as_of):
        assert row.missed_at is not None
        has_group = row.group_id is not None
        state = closing(has_group, row.missed_at, as_of)
        is_open = row.missed_at > as_of
        ledger.change(row, state, due_at=row.missed_at if is_open else None)
    _store(connection, watch.name, ledger, now)


def _store(connection: Connection, watch_name: str, ledger: Ledger, now: datetime) -> None:
    arrivals.store(connection, ledger.attached)
    arrivals.store(connection, ledger.changed)
    arrivals.make_unexpected(connection, watch_name, ledger.unexpected)
    news = [(row.id, group_id, event) for row, group_id, event in ledger.news]
    feed.announce_arrivals(connection, watch_name, news, now)
    _tell(ledger.news)


def _tell(news: Sequence[tuple[ArrivalRow, int | None, FeedEvent]]) -> None:
    for event, says in NAMED.items():
        rows = [row for row, _, its in news if its is event]
        level = logging.INFO if event is FeedEvent.ARRIVED else logging.WARNING
        for row in rows[:FEW]:
            what = row.group_key or f"what is expected by {row.expectation}"
            log.log(level, "%s %s; its time was %s", what, says, shown(row.at))
        if len(rows) > FEW:
            log.log(level, "and %d more: each %s", len(rows) - FEW, says)
