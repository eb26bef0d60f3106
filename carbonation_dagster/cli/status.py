"""`carbonation status`: how the service does."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from carbonation_core.text import counted, printable
from carbonation_dagster.cli.commands import Command
from carbonation_dagster.cli.text_table import terminal_width, text_table, wrapped

if TYPE_CHECKING:
    from carbonation_core.config.loading import Config
    from carbonation_core.reports.needs import Need
    from carbonation_core.reports.status import Status

MOST_NEEDS = 10  # that are told of; --json has all


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
    if len({(one.site, one.host) for one in found.sites}) > 1:
        yield ""
        yield from _sites(found)
    if found.workers:
        yield ""
        yield from _workers(found)
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
    for line in (*_totals(found), *_rules(found)):
        yield from wrapped(line, terminal_width())
    yield from _needs(found)


def _verdict(found: "Status") -> Iterator[str]:
    if found.is_healthy:
        yield click.style("healthy", fg="green", bold=True)
    for problem in found.problems:
        yield from _sentence("problem", "red", problem)
    for warning in found.warnings:
        yield from _sentence("warning", "yellow", warning)
    if found.service is not None and found.service.is_running:
        ui = f", UI {found.service.ui}" if found.service.ui else ""
        yield f"service: pid {found.service.pid} on {found.service.host}{ui}"


def _sentence(kind: str, colour: str, text: str) -> Iterator[str]:
    first, *others = wrapped(f"{kind}: {printable(text)}", terminal_width())
    yield click.style(f"{kind}:", fg=colour, bold=True) + first.removeprefix(f"{kind}:")
    yield from others


def _parts(found: "Status") -> Iterator[str]:
    headings = ("part", "state", "last heartbeat", "age", "started")
    rows = [
        (part.name, part.state, _time(part.last_heartbeat), _ago(part.age), _time(part.started_at))
        for part in found.parts
    ]
    return _table(headings, rows, spare=("started", "last heartbeat"))


def _sites(found: "Status") -> Iterator[str]:
    headings = ("site", "host", "part", "state", "last heartbeat", "age", "watches")
    rows = [
        (
            one.site,
            one.host,
            one.part,
            one.state,
            _time(one.last_heartbeat),
            _ago(one.age),
            ", ".join(one.watches) or "none",
        )
        for one in found.sites
    ]
    return _table(headings, rows, spare=("last heartbeat", "watches"))


def _workers(found: "Status") -> Iterator[str]:
    headings = ("worker", "state", "busy", "slots", "release", "queues", "last heartbeat", "age")
    rows = [
        (
            one.host,
            "silent" if one.is_silent else "drains" if one.drains else "runs",
            str(one.busy),
            str(one.slots),
            one.release,
            ", ".join(one.queues),
            _time(one.last_heartbeat),
            _ago(one.age),
        )
        for one in found.workers
    ]
    return _table(headings, rows, spare=("release", "last heartbeat", "queues"))


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
            (watch.error or ("late" if watch.is_late else "well")).removeprefix(f"{watch.path}: "),
            watch.path,
        )
        for watch in found.watches
    ]
    spare = ("by event", "by scan", "last new file", "path", "last look")
    return _table(headings, rows, spare)


def _archives(found: "Status") -> Iterator[str]:
    from carbonation_core.text import listing

    rows = []
    for one in found.archives:
        health = f"seen from {listing(one.seen_from)}" if one.seen_from else one.error or "well"
        free = "" if one.seen_from else f"{one.share_free:.0%}"
        rows.append((one.name, free, health.removeprefix(f'"{one.path}" '), one.path))
    return _table(("archive", "free", "health", "path"), rows, spare=("path",))


def _components(found: "Status") -> Iterator[str]:
    from carbonation_core.reports.status import ALL, WINDOWS

    rows = [
        (state.value, *(str(numbers[window]) for window in (*WINDOWS, ALL)))
        for state, numbers in found.components.items()
    ]
    return _table(("components", *WINDOWS, ALL), rows, spare=("4h", "30d", "7d", "1h"))


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
    return _table(("consumer", "watch", "behind", "since", "last ack"), rows, spare=("last ack", "watch"))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], spare: Sequence[str]) -> Iterator[str]:
    return text_table(headings, rows, width=terminal_width(), spare=spare)


def _needs(found: "Status") -> Iterator[str]:
    """The first of what needs somebody: where it stands, why, and the command that goes on."""
    if not found.needs:
        return
    yield ""
    number = len(found.needs)
    yield click.style(f"needs somebody: {counted(number, 'group')}", bold=True)
    width = terminal_width()
    for need in found.needs[:MOST_NEEDS]:
        where = f"{printable(need.name)} of watch {need.watch_name}: {need.status}"
        line = f"{where} for {_ago(found.at - need.since)}{_until(need, found.at)}"
        yield from wrapped(line, width, indent=2)
        yield from wrapped(printable(need.reason), width, indent=4)
        yield f"    {printable(need.command)}"
    if number > MOST_NEEDS:
        yield f"  and {number - MOST_NEEDS} more: carbonation status --json has all of them"


def _until(need: "Need", now: datetime) -> str:
    if need.until is None:
        return ""
    if need.until <= now:
        return f", due since {_time(need.until)}"
    return f", {'again at' if need.status == 'retry_pending' else 'until'} {_time(need.until)}"


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
