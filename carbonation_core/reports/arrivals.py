"""What was expected and what came: the board, and what somebody excuses on it."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from carbonation_core.db import arrivals, feed, service
from carbonation_core.db.engine import Connection, reading, repeatable, writing
from carbonation_core.db.feed import ArrivalNews, feed_end
from carbonation_core.db.locks import lock_watch
from carbonation_core.db.service import part_of_watch
from carbonation_core.errors import QueryError
from carbonation_core.lifecycle import ArrivalState
from carbonation_core.project import Project
from carbonation_core.rules.arrivals import is_at_risk, usual_delay
from carbonation_core.text import listing, quoted, shown

SHOWN = timedelta(days=30)  # of the board, unless asked otherwise
RECENT = timedelta(days=1)
NEVER = datetime.min.replace(tzinfo=UTC)
BEFORE = (ArrivalState.EXPECTED, ArrivalState.LATE, ArrivalState.INCOMPLETE, ArrivalState.MISSED)
STATES = {state: (state,) for state in ArrivalState} | {ArrivalState.AT_RISK: (ArrivalState.EXPECTED,)}


@dataclass(frozen=True, slots=True)
class Arrival:
    """An arrival that is expected, or came.

    `expected_at` and `expectation` are None for one that was not expected;
    `group_key` is the key that is expected, else that of the group that came, if it
    is known. `delay` is how long after its time it came, less than 0 when it was
    early; `is_late`: it came, or is still to come, later than it should.
    """

    watch_name: str
    expectation: str | None
    expected_at: datetime | None
    late_at: datetime | None
    group_key: str | None
    state: ArrivalState
    arrived_at: datetime | None
    delay: timedelta | None
    is_late: bool
    reason: str | None


class Kept(StrEnum):
    """How an expected arrival came out; of a day with several, the last of these that there is."""

    TO_COME = "to come"
    EXCUSED = "excused"
    IN_TIME = "in time"
    LATE = "late"
    INCOMPLETE = "incomplete"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Strip:
    """What one expectation of a watch came to, by day, and in numbers; None: nothing was expected on it."""

    expectation: str
    days: tuple[tuple[date, Kept | None], ...]
    counts: Mapping[Kept, int]


def board(
    project: Project,
    watch_name: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    states: Collection[str] = (),
) -> list[Arrival]:
    """The arrivals of that time, of one watch or all: by watch, expectation and time.

    `since` is 30 days ago unless given, `until` has no bound. Each stands as the last
    look at its watch left it. Raises `QueryError` for a watch or state that is not known.
    """
    names, wanted = _watches(project, watch_name), _states(states)
    since = project.clock() - SHOWN if since is None else since
    stored = {stored for state in wanted for stored in STATES[state]}
    with reading(project.engine) as connection:
        rows = arrivals.on_board(connection, names, since, until, stored)
        looks = {name: service.get(connection, part_of_watch(name)) for name in names}
        feeds = {(row.watch_name, row.expectation) for row in rows if row.state is ArrivalState.EXPECTED}
        usual = {(name, label): _usual(connection, name, label) for name, label in feeds}
        keys = arrivals.keys_of(connection, [r.group_id for r in rows if r.group_id and not r.group_key])
    found = []
    for row in rows:
        look, expected = looks[row.watch_name], row.expectation is not None
        as_of = look.last_heartbeat if look else project.clock()
        state = row.state
        if state is ArrivalState.EXPECTED and is_at_risk(
            row.at, usual[row.watch_name, row.expectation], as_of
        ):
            state = ArrivalState.AT_RISK
        if wanted and state not in wanted:
            continue
        late = row.arrived_at is not None and row.late_at is not None and row.arrived_at > row.late_at
        found.append(
            Arrival(
                row.watch_name,
                row.expectation,
                row.at if expected else None,
                row.late_at,
                row.group_key or keys.get(row.group_id or 0),
                state,
                row.arrived_at,
                row.arrived_at - row.at if row.arrived_at is not None and expected else None,
                late or state in (ArrivalState.LATE, ArrivalState.INCOMPLETE, ArrivalState.MISSED),
                row.reason,
            )
        )
    return found


@repeatable
def excuse(project: Project, watch_name: str, since: datetime, until: datetime, reason: str) -> int:
    """Say of all that is expected in that time and has not come that it need not; returns how many are.

    What comes for one all the same has arrived. Raises `QueryError` for a watch that is not known,
    and for a time whose end is before its beginning.
    """
    _watches(project, watch_name)
    if until < since:
        raise QueryError(f"that time ends at {shown(until)}, before it begins at {shown(since)}")
    with writing(project.engine) as connection:
        lock_watch(connection, watch_name)
        rows = arrivals.on_board(connection, [watch_name], since, until + timedelta.resolution, BEFORE)
        changed = [
            {"id": row.id, "state": ArrivalState.EXCUSED, "due_at": None, "reason": reason} for row in rows
        ]
        arrivals.store(connection, changed)
    return len(changed)


def needing_notice(project: Project, watch_name: str) -> list[Arrival]:
    """What is late or incomplete, and what was expected in the last day and is missed."""
    still = board(project, watch_name, states=(ArrivalState.LATE, ArrivalState.INCOMPLETE))
    missed = board(project, watch_name, project.clock() - RECENT, states=(ArrivalState.MISSED,))
    return sorted([*still, *missed], key=lambda one: (one.expectation or "", one.expected_at or NEVER))


def news(project: Project, after: int | None) -> tuple[list[ArrivalNews], int]:
    """What became of expected arrivals after that entry of the feed, and its last one; None is now."""
    with reading(project.engine) as connection:
        end = feed_end(connection)
        # One that is ahead is from before an earlier copy of the database was restored.
        return feed.of_arrivals(connection, end if after is None else min(after, end), end), end


def strips(project: Project, watch_name: str) -> list[Strip]:
    """What each expectation of a watch came to on each of the last 30 days, today with them."""
    today = project.clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=back) for back in reversed(range(SHOWN.days))]
    with reading(project.engine) as connection:
        rows = arrivals.by_slot(connection, watch_name, days, today + timedelta(days=1))
    found: dict[str, dict[int, Counter[Kept]]] = defaultdict(lambda: defaultdict(Counter))
    for label, day, state, is_late, number in rows:
        found[label][day][kept(state, is_late=is_late)] += number
    order = list(Kept)
    return [
        Strip(
            label,
            tuple((at.date(), max(by_day[n], key=order.index, default=None)) for n, at in enumerate(days)),
            sum(by_day.values(), Counter()),
        )
        for label, by_day in found.items()
    ]


def kept(state: ArrivalState, *, is_late: bool) -> Kept:
    """How one of that state came out; `is_late`: it came later than it should."""
    if state is ArrivalState.ARRIVED:
        return Kept.LATE if is_late else Kept.IN_TIME
    return _KEPT.get(state, Kept.TO_COME)


_KEPT = {
    ArrivalState.EXCUSED: Kept.EXCUSED,
    ArrivalState.LATE: Kept.LATE,
    ArrivalState.INCOMPLETE: Kept.INCOMPLETE,
    ArrivalState.MISSED: Kept.MISSED,
}


def _usual(connection: Connection, watch_name: str, expectation: str | None) -> timedelta | None:
    return usual_delay(arrivals.delays(connection, watch_name, expectation)) if expectation else None


def _watches(project: Project, watch_name: str | None) -> list[str]:
    names = [watch.name for watch in project.config.watch]
    if watch_name is None:
        return names
    if watch_name not in names:
        raise QueryError(f"there is no watch {quoted(watch_name)}; known: {listing(names)}")
    return [watch_name]


def _states(given: Collection[str]) -> set[ArrivalState]:
    known = list(ArrivalState)
    for state in given:
        if state not in known:
            raise QueryError(f"there is no state {quoted(state)}; known: {listing(known)}")
    return {ArrivalState(state) for state in given}
