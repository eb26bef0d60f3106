"""A planned batch put in place: written, durable, verified, renamed; and what is cleaned up afterwards.

Between renaming and cleaning up the record is committed (`record`), and only then
are the sources of a `move` removed. A crash before the record is repaired by
taking the names back (`rollback`) and doing it again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from carbonation_core.db.engine import reading
from carbonation_core.disk import file_system, source, transfer
from carbonation_core.disk.temporary import clear
from carbonation_core.disk.transfer import Order, Written
from carbonation_core.errors import AttemptFailed, Stopped
from carbonation_core.lifecycle import Outcome
from carbonation_core.pipeline.context import Closing, Linked, StageContext, closing
from carbonation_core.pipeline.placement import Archived, Transfer
from carbonation_core.pipeline.rollback import remove_superseded

GIVEN_BACK = "the service is stopping"
LARGE = 1 << 20  # bytes of a file that is worth a thread


def write(context: StageContext, transfers: Sequence[Transfer], stop: Callable[[], bool]) -> Archived:
    """Write and verify under temporary names; a group that fails leaves nothing."""
    return _made_durable(_parted(_each_written(context, transfers, stop)))


def _each_written(
    context: StageContext, transfers: Sequence[Transfer], stop: Callable[[], bool]
) -> Iterator["_Step"]:
    """One after the other, or several at a time where that is faster."""
    if not _is_worth_threads(context, transfers):
        yield from (_written(job, stop) for job in transfers)
        return
    with ThreadPoolExecutor(context.project.config.service.workers) as pool:
        yield from pool.map(lambda job: _written(job, stop), transfers)


def _is_worth_threads(context: StageContext, transfers: Sequence[Transfer]) -> bool:
    """Whether there is a large file, or another host to wait for. Else threads only wait for each other."""
    if any(order.source.stamp.size >= LARGE for job in transfers for order in job.orders):
        return True
    places = {context.watch.path, *(job.archive.base for job in transfers)}
    return any(map(file_system.is_remote, places))


def _written(job: Transfer, stop: Callable[[], bool]) -> "_Step":
    if stop():
        return job, Closing(job.group, Outcome.GIVEN_BACK, GIVEN_BACK)
    written = list(job.written)
    try:
        for directory in {order.directory for order in job.orders}:
            file_system.make_directory(directory, job.archive.dir_mode, job.archive.create_directories)
        for order in job.orders:
            written.append(transfer.write(order, stop))
    except Stopped:
        return job, Closing(job.group, Outcome.GIVEN_BACK, GIVEN_BACK)
    except AttemptFailed as error:
        return job, closing(job.group, error)
    return replace(job, written=tuple(written)), None


def _made_durable(before: Archived) -> Archived:
    """What is left after everything written was synced and looked at again."""
    try:
        transfer.sync(written for job in before.transfers for written in job.written)
    except AttemptFailed as error:
        return _parted(((job, closing(job.group, error)) for job in before.transfers), before)
    return _parted(map(_verified, before.transfers), before)


def _verified(job: Transfer) -> "_Step":
    try:
        for written in job.written:
            transfer.verify(written)
    except AttemptFailed as error:
        return job, closing(job.group, error)
    return job, None


def publish(transfers: Sequence[Transfer]) -> Archived:
    """Give everything its final name, group by group and each group whole, and make the names durable."""
    named = _parted(map(_published, transfers))
    failed = transfer.sync_names(written for job in named.transfers for written in job.written)
    return _parted((_durably_named(job, failed) for job in named.transfers), named)


def _published(job: Transfer) -> "_Step":
    done: list[Written] = []
    try:
        for written in job.written:
            done.append(transfer.publish(written))
    except AttemptFailed as error:
        _withdraw(done)
        return job, closing(job.group, error)
    return replace(job, written=tuple(done)), None


def _durably_named(job: Transfer, failed: Mapping[str, AttemptFailed]) -> "_Step":
    """`failed`: the directories that could not be synced, and why."""
    errors = [failed[one.order.directory] for one in job.written if one.order.directory in failed]
    if not errors:
        return job, None
    _withdraw(job.written)
    return job, closing(job.group, errors[0])


def _withdraw(done: Sequence[Written]) -> None:
    for written in done:
        if not written.in_place:
            transfer.withdraw(written.order)


def discard(transfers: Sequence[Transfer]) -> None:
    """Remove what lies under temporary names."""
    for job in transfers:
        for order in job.orders:
            clear(order.directory, order.temporary)


_Step = tuple[Transfer, Closing | None]  # how a transfer is after a step, and how its way ends, if it does


def _parted(steps: Iterable[_Step], before: Archived = Archived()) -> Archived:  # noqa: B008  # frozen
    """What goes on, and what ends, of which nothing is left; with what ended `before`."""
    going: list[Transfer] = []
    closed = list(before.closed)
    linked = dict(before.linked)
    for job, ended in steps:
        if ended is None:
            going.append(job)
            continue
        discard([job])
        closed.append(ended)
        if ended.outcome is not Outcome.WAITING:  # else a source has changed, and is to settle anew
            linked |= _linked(job)
    return Archived(tuple(going), tuple(closed), linked)


def _linked(job: Transfer) -> Linked:
    """How links of ours have left the sources; that is no change of a file, which would begin anew."""
    stamps = {
        order.component_id: (order.source.stamp, source.stamp_after_link(order.source))
        for order in job.orders
        if order.action in ("move", "hardlink")
    }
    return {id_: (before, after) for id_, (before, after) in stamps.items() if before != after}


@dataclass(frozen=True)
class CleanedUp:
    """What removing sources came to, by component, and which sources links of ours have changed."""

    values: Mapping[int, Mapping[str, Any]]
    linked: Linked


def clean_up(context: StageContext, transfers: Sequence[Transfer], superseded: Sequence[str]) -> CleanedUp:
    """Remove superseded copies, and the sources of a `move`, once all is recorded."""
    with reading(context.project.engine) as connection:
        remove_superseded(connection, superseded)
    values: dict[int, dict[str, Any]] = defaultdict(dict)
    for job in transfers:
        for order in _taken(job) if job.archive.action == "move" else ():
            try:
                if source.remove(order.source):
                    values[order.component_id]["in_delivery"] = False
            except OSError as error:
                message = f"archived, but its source cannot be removed: {error.strerror}"
                values[order.component_id]["error_message"] = message
    settled = {w.order.component_id: (w.stamp, transfer.settle(w)) for job in transfers for w in job.written}
    relinked = {id_: stamps for id_, stamps in settled.items() if stamps[0] != stamps[1]}
    return CleanedUp(values, relinked)


def _taken(job: Transfer) -> Iterator[Order]:
    """The orders whose very bytes are in the archive now."""
    for written in job.written:
        yield replace(written.order, source=replace(written.order.source, stamp=written.stamp))
    yield from (kept.order for kept in job.kept if kept.same_bytes)
