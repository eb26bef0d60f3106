"""`carbonation status`: how the service does."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from carbonation_core.text import counted, printable
from carbonation_dagster.cli.commands import Command
from carbonation_dagster.cli.text_table import text_table

if TYPE_CHECKING:
    from carbonation_core.config.loading import Config
    from carbonation_core.reports.status import Status


@click.command(cls=Command, examples=("carbonation status", "carbonation status --json | jq .problems"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def status(path: str | None, as_json: bool) -> None:
    """Show how the service does: heartbeats, counts by status, what waits, and what is wrong.

    The exit code is 0 when there is no problem, else 1; warnings leave it at 0. The columns 1h to 30d count
    the components that came to a status in that time and still have it.
    """
    from carbonation_core.errors import DatabaseError
    from carbonation_core.reports.status import status as look
    from carbonation_dagster.cli.opening import open_unchecked
    from carbonation_dagster.cli.printing import to_json

    project = open_unchecked(path)
    try:
        found = look(project)
    except DatabaseError as error:
        problems = [str(error), _of_process(project.config)]
        if not as_json:
            raise DatabaseError("; ".join(problems)) from error
        click.echo(to_json({"healthy": False, "problems": problems}))
        sys.exit(1)
    if as_json:
        click.echo(to_json({"healthy": found.is_healthy, **_plain(asdict(found))}))
    else:
        for line in _lines(found):
            click.echo(line)
    sys.exit(0 if found.is_healthy else 1)


def _of_process(config: "Config") -> str:
    """Whether a service runs here, as its lock says, when the database cannot."""
    from carbonation_core.reports.health import START
    from carbonation_dagster.service.lock import pid_of_service

    pid = pid_of_service(config)
    return f"the service runs, with pid {pid}" if pid else f"no service runs here; {START}"


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _lines(found: "Status") -> Iterator[str]:
    yield from _verdict(found)
    if found.parts:
        yield ""
        yield from _parts(found)
    yield ""
    yield from _watches(found)
    yield ""
    yield from _archives(found)
    yield ""
    yield from _components(found)
    yield ""
    if found.consumers:
        yield from _consumers(found)
        yield ""
    yield from _totals(found)
    yield from _rules(found)
    yield from _overlong(found)


def _verdict(found: "Status") -> Iterator[str]:
    if found.is_healthy:
        yield click.style("healthy", fg="green", bold=True)
    for problem in found.problems:
        yield f"{click.style('problem:', fg='red', bold=True)} {printable(problem)}"
    for warning in found.warnings:
        yield f"{click.style('warning:', fg='yellow', bold=True)} {printable(warning)}"
    if found.service is not None and found.service.is_running:
        ui = f", UI {found.service.ui}" if found.service.ui else ""
        yield f"service: pid {found.service.pid} on {found.service.host}{ui}"


def _parts(found: "Status") -> Iterator[str]:
    headings = ("part", "state", "last heartbeat", "age", "started")
    rows = [
        (part.name, part.state, _time(part.last_heartbeat), _ago(part.age), _time(part.started_at))
        for part in found.parts
    ]
    return text_table(headings, rows)


def _watches(found: "Status") -> Iterator[str]:
    headings = ("watch", "last look", "files", "last new file", "by event", "by scan", "health", "path")
    rows = [
        (
            watch.name,
            _or_never(watch.last_look),
            str(watch.files or 0),
            _or_never(watch.last_new),
            str(watch.found_by_event),
            str(watch.found_by_scan),
            watch.error or ("late" if watch.is_late else "well"),
            watch.path,
        )
        for watch in found.watches
    ]
    return text_table(headings, rows)


def _archives(found: "Status") -> Iterator[str]:
    rows = [(one.name, f"{one.share_free:.0%}", one.error or "well", one.path) for one in found.archives]
    return text_table(("archive", "free", "health", "path"), rows)


def _components(found: "Status") -> Iterator[str]:
    from carbonation_core.reports.status import ALL, WINDOWS

    rows = [
        (state.value, *(str(numbers[window]) for window in (*WINDOWS, ALL)))
        for state, numbers in found.components.items()
    ]
    return text_table(("components", *WINDOWS, ALL), rows)


def _consumers(found: "Status") -> Iterator[str]:
    rows = [
        (
            one.consumer,
            one.watch_name or "all",
            str(one.behind),
            _time(one.since) if one.since else "",
            _time(one.acked_at),
        )
        for one in found.consumers
    ]
    return text_table(("consumer", "watch", "behind", "since", "last ack"), rows)


def _overlong(found: "Status") -> Iterator[str]:
    if not found.overlong.waiters:
        return
    yield ""
    yield from text_table(
        ("waits too long", "watch", "for", "is", "what for"),
        [
            (
                one.name,
                one.watch_name,
                _ago(found.at - one.since),
                " ".join(("stale",) * one.is_stale + ("overdue",) * one.is_overdue),
                one.waits_for,
            )
            for one in found.overlong.waiters
        ],
    )
    more = found.overlong.number - len(found.overlong.waiters)
    if more > 0:
        yield f"and {more} more"


def _totals(found: "Status") -> Iterator[str]:
    totals = found.totals
    yield f"groups: {totals.groups}; complete {totals.complete_groups}"
    yield (
        f"components: {totals.components}; in delivery {totals.in_delivery}, "
        f"in the archive {totals.in_archive} with {counted(totals.archived_bytes, 'byte')}"
    )
    yield f"at work: {counted(found.workers_active, 'run')}; groups that wait for one: {found.queue_depth}"
    retries = found.retry_queue
    at = f", the first at {_time(retries.next_at)}" if retries.next_at else ""
    yield f"retry queue: {counted(retries.components, 'component')}{at}"
    oldest = found.oldest_group
    if oldest is None:
        yield "oldest incomplete group: none"
        return
    standing = ", ".join(f"{number} {state}" for state, number in sorted(oldest.components.items()))
    until = f", waits until {_time(oldest.waits_until)}" if oldest.waits_until else ""
    stale = f" {click.style('stale', fg='yellow')}" if found.oldest_is_stale else ""
    yield (
        f"oldest incomplete group:{stale} {oldest.group_key} of watch {oldest.watch_name}, "
        f"for {_ago(found.at - oldest.since)}: {standing}{until}"
    )


def _rules(found: "Status") -> Iterator[str]:
    if found.rules is None:
        yield "rules in force: none yet"
    else:
        yield f"rules in force: {found.rules.digest[:12]}, since {_time(found.rules.at)}"
    if found.refused_rules is not None:
        refused = found.refused_rules
        yield f"rules refused: {refused.digest[:12]}, at {_time(refused.at)}"


def _time(at: datetime) -> str:
    from carbonation_core.text import shown

    return shown(at)


def _or_never(at: datetime | None) -> str:
    return _time(at) if at else "never"


def _ago(age: timedelta) -> str:
    from carbonation_core.text import ago

    return ago(age)
