"""A planned batch put in place: written, durable, verified, renamed; and what is cleaned up afterwards.

Between renaming and cleaning up the record is committed (`archive_record`), and
only then are the sources of a `move` removed. A crash before the record is
repaired by taking the names back (`recovery`) and doing it again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from carbonation_core.db.engine import reading
from carbonation_core.disk import file_system, source, transfer
from carbonation_core.disk.stamp import Stamp
from carbonation_core.disk.temporary import clear
from carbonation_core.disk.transfer import Order, Written
from carbonation_core.errors import AttemptFailed, Stopped
from carbonation_core.lifecycle import Outcome
from carbonation_core.pipeline.context import Closing, StageContext, closing
from carbonation_core.pipeline.placement import Archived, Transfer
from carbonation_core.pipeline.rollback import remove_superseded

GIVEN_BACK = "the service is stopping"


def write(context: StageContext, transfers: Sequence[Transfer], stop: Callable[[], bool]) -> Archived:
    """Write and verify under temporary names; a group that fails leaves nothing."""
    result = Archived()

    def one(job: Transfer) -> Closing | None:
        if stop():
            return Closing(job.group, Outcome.GIVEN_BACK, GIVEN_BACK)
        try:
            for order in job.orders:
                mode, create = job.archive.dir_mode, job.archive.create_directories
                file_system.make_directory(order.directory, mode, create)
                job.written.append(transfer.write(order, stop))
        except Stopped:
            return Closing(job.group, Outcome.GIVEN_BACK, GIVEN_BACK)
        except AttemptFailed as error:
            return closing(job.group, error)
        return None

    with ThreadPoolExecutor(context.project.config.service.workers) as pool:
        for job, ended in zip(transfers, pool.map(one, transfers), strict=True):
            _sort_out(result, job, ended)
    return _made_durable(result)


def publish(transfers: Sequence[Transfer]) -> Archived:
    """Give everything its final name, group by group and each group whole, and make the names durable."""
    result = Archived()
    for job in transfers:
        _sort_out(result, job, _published(job))
    return _named_durably(result)


def _published(job: Transfer) -> Closing | None:
    done: list[Written] = []
    try:
        for written in job.written:
            done.append(transfer.publish(written))
    except AttemptFailed as error:
        _withdraw(done)
        return closing(job.group, error)
    job.written = done
    return None


def _named_durably(result: Archived) -> Archived:
    """What is left after the directories were synced."""
    durable = Archived(closed=result.closed, stamps=result.stamps)
    failed = transfer.sync_names(written for job in result.transfers for written in job.written)
    for job in result.transfers:
        errors = [failed[w.order.directory] for w in job.written if w.order.directory in failed]
        if errors:
            _withdraw(job.written)
        _sort_out(durable, job, closing(job.group, errors[0]) if errors else None)
    return durable


def _made_durable(result: Archived) -> Archived:
    """What is left after everything written was synced and looked at again."""
    durable = Archived(closed=result.closed, stamps=result.stamps)
    try:
        transfer.sync(written for job in result.transfers for written in job.written)
    except AttemptFailed as error:
        for job in result.transfers:
            _sort_out(durable, job, closing(job.group, error))
        return durable
    for job in result.transfers:
        ended = None
        try:
            for written in job.written:
                transfer.verify(written)
        except AttemptFailed as error:
            ended = closing(job.group, error)
        _sort_out(durable, job, ended)
    return durable


def _withdraw(done: Sequence[Written]) -> None:
    for written in done:
        if not written.in_place:
            transfer.withdraw(written.order)


def discard(transfers: Sequence[Transfer]) -> None:
    """Remove what lies under temporary names."""
    for job in transfers:
        for order in job.orders:
            clear(order.directory, order.temporary)


def _sort_out(result: Archived, job: Transfer, ended: Closing | None) -> None:
    if ended is None:
        result.transfers.append(job)
        return
    discard([job])
    result.closed.append(ended)
    if ended.outcome is Outcome.WAITING:
        return  # a source has changed, and is to settle anew
    for order in job.orders:
        before, after = order.source.stamp, source.stamp_after_link(order.source)
        if order.action in ("move", "hardlink") and before != after:
            # A link of ours is no change of the file, which would be a reason to begin anew.
            result.stamps[order.component_id] = before, after


@dataclass(frozen=True)
class CleanedUp:
    """What removing sources and linking came to, by component: values, and stamps before and after."""

    values: Mapping[int, Mapping[str, Any]]
    stamps: Mapping[int, tuple[Stamp, Stamp]]


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
