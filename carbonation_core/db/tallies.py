"""How much there is of everything, counted as it changes, so that nobody counts millions of rows to see it.

Whoever changes a component or a group says so in the same transaction; the sums
are brought up to date at its end, where their locks are held for the shortest
time.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Connection, case, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute

from carbonation_core.db.models import FileComponent, Group, Tally
from carbonation_core.lifecycle import FileStatus

IN_DELIVERY, IN_ARCHIVE, ARCHIVED_BYTES = "in_delivery", "in_archive", "archived_bytes"
GROUPS, COMPLETE = "groups", "complete_groups"
NAMES = (*FileStatus, IN_DELIVERY, IN_ARCHIVE, ARCHIVED_BYTES, GROUPS, COMPLETE)
NO_WATCH = ""  # of what concerns all watches
_CHANGES = "carbonation_tallies"  # of the transaction, among what a connection knows

State = tuple[FileStatus | str, bool, bool, int]  # status, in delivery, in archive, size


def begin(connection: Connection) -> None:
    """Forget what a transaction that came to nothing had to say."""
    connection.info[_CHANGES] = Counter()


@contextmanager
def kept(connection: Connection) -> Iterator[None]:
    """Forget what a part of a transaction had to say, if that part comes to nothing."""
    before = connection.info[_CHANGES].copy()
    try:
        yield
    except BaseException:
        connection.info[_CHANGES] = before
        raise


def add(connection: Connection, watch_name: str, name: str, number: int) -> None:
    """There are so many more of that name in the watch."""
    connection.info[_CHANGES][watch_name, name] += number


def appeared(connection: Connection, watch_name: str, state: State) -> None:
    """There is another component in the watch."""
    _count(connection, watch_name, state, 1)


def moved(connection: Connection, watch_name: str, before: State, after: State) -> None:
    """A component of the watch is not as it was."""
    _count(connection, watch_name, before, -1)
    _count(connection, watch_name, after, 1)


def _count(connection: Connection, watch_name: str, state: State, sign: int) -> None:
    status, in_delivery, in_archive, size = state
    changes: Counter[tuple[str, str]] = connection.info[_CHANGES]
    changes[watch_name, status] += sign
    if in_delivery:
        changes[watch_name, IN_DELIVERY] += sign
    if in_archive:
        changes[watch_name, IN_ARCHIVE] += sign
        changes[watch_name, ARCHIVED_BYTES] += sign * size


def settle(connection: Connection) -> None:
    """Bring the sums up to date with what the transaction changed."""
    changes: Counter[tuple[str, str]] = connection.info[_CHANGES]
    # In this order for all, so that nobody waits for whom he holds up.
    for (watch_name, name), number in sorted(changes.items()):
        if number:
            _store(connection, watch_name, name, Tally.value + number, number)


def read(connection: Connection) -> Counter[str]:
    """The sums over all watches, by name."""
    query = select(Tally.name, func.sum(Tally.value)).group_by(Tally.name)
    return Counter({name: int(value) for name, value in connection.execute(query)})


def of_watch(connection: Connection, watch_name: str) -> Counter[str]:
    """The sums of one watch, by name."""
    query = select(Tally.name, Tally.value).where(Tally.watch_name == watch_name)
    return Counter({name: int(value) for name, value in connection.execute(query)})


def by_watch(connection: Connection) -> Mapping[str, Counter[str]]:
    """The sums of each watch, by name; all zero of one of which nothing was ever counted."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for watch_name, name, value in connection.execute(select(Tally.watch_name, Tally.name, Tally.value)):
        found[watch_name][name] = value
    return found


def watch_names(connection: Connection) -> set[str]:
    """The watches of which anything was ever counted."""
    return set(connection.execute(select(Tally.watch_name).distinct()).scalars()) - {NO_WATCH}


def recount(connection: Connection, watch_names: Iterable[str]) -> None:
    """Count everything in these watches anew, as somebody changed it who did not say so."""
    pending: Counter[tuple[str, str]] = connection.info.get(_CHANGES, Counter())
    for watch_name in sorted(watch_names):
        # What this transaction has changed is counted with the rest; what others
        # have changed and not committed comes on top when they have.
        for name in NAMES:
            pending.pop((watch_name, name), None)
        held = select(Tally.value).where(Tally.watch_name == watch_name).order_by(Tally.name)
        connection.execute(held.with_for_update()).all()
        counted = _counted(connection, watch_name)
        for name in NAMES:
            _store(connection, watch_name, name, counted[name], counted[name])


def _store(connection: Connection, watch_name: str, name: str, value: object, first: int) -> None:
    statement = update(Tally).where(Tally.watch_name == watch_name, Tally.name == name).values(value=value)
    if connection.execute(statement).rowcount == 1:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(Tally).values(watch_name=watch_name, name=name, value=first))
    except IntegrityError:  # another transaction made it meanwhile
        connection.execute(statement)


def _counted(connection: Connection, watch_name: str) -> Counter[str]:
    found: Counter[str] = Counter()
    by_status = (
        select(
            FileComponent.status,
            func.count(),
            _sum_where(FileComponent.in_delivery, 1),
            _sum_where(FileComponent.in_archive, 1),
            _sum_where(FileComponent.in_archive, FileComponent.size_bytes),
        )
        .where(FileComponent.watch_name == watch_name)
        .group_by(FileComponent.status)
    )
    for status, number, in_delivery, in_archive, size in connection.execute(by_status):
        found[status] = number
        found[IN_DELIVERY] += int(in_delivery)
        found[IN_ARCHIVE] += int(in_archive)
        found[ARCHIVED_BYTES] += int(size)
    groups = select(func.count(), _sum_where(Group.complete, 1)).where(Group.watch_name == watch_name)
    number, complete = connection.execute(groups).one()
    found[GROUPS], found[COMPLETE] = number, int(complete)
    return found


def _sum_where(condition: InstrumentedAttribute[bool], value: object) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, value), else_=0)), 0)
