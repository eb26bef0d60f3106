"""`carbonation status`: how the service does."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from carbonation_core.status import Status


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def status(path: str | None, as_json: bool) -> None:
    """Show how the service does: heartbeats, counts by status, what waits, and what is wrong.

    The exit code is 0 when nothing is wrong, else 1. The columns 1h to 30d count
    the components that came to a status in that time and still have it.
    """
    from carbonation_core.errors import DatabaseError
    from carbonation_core.project import open_unchecked
    from carbonation_core.status import status as look
    from carbonation_dagster.cli.printing import to_json

    project = open_unchecked(path)
    try:
        found = look(project)
    except DatabaseError as error:
        if as_json:
            click.echo(to_json({"healthy": False, "problems": [str(error)]}))
            sys.exit(1)
        raise
    if as_json:
        click.echo(to_json({"healthy": found.is_healthy, **_plain(asdict(found))}))
    else:
        for line in _lines(found):
            click.echo(line)
    sys.exit(0 if found.is_healthy else 1)


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _lines(found: "Status") -> Iterator[str]:
    from carbonation_core.status import ALL, WINDOWS
    from carbonation_dagster.cli.text_table import text_table

    if found.is_healthy:
        yield click.style("healthy", fg="green", bold=True)
    for problem in found.problems:
        yield f"{click.style('problem:', fg='red', bold=True)} {problem}"
    if found.parts:
        yield ""
        headings = ("part", "last heartbeat", "age", "started")
        rows = [(p.name, _time(p.last_heartbeat), _ago(p.age), _time(p.started_at)) for p in found.parts]
        yield from text_table(headings, rows)
    yield ""
    watches = [
        (w.name, _or_never(w.last_look), str(w.files or 0), w.error or "well", w.path) for w in found.watches
    ]
    yield from text_table(("watch", "last look", "files", "health", "path"), watches)
    yield ""
    windows = (*WINDOWS, ALL)
    counts = [
        (state.value, *(str(numbers[window]) for window in windows))
        for state, numbers in found.components.items()
    ]
    yield from text_table(("components", *windows), counts)
    yield ""
    yield from _totals(found)
    yield from _rules(found)


def _totals(found: "Status") -> Iterator[str]:
    totals = found.totals
    yield f"groups: {totals.groups}, of which {totals.complete_groups} are complete"
    yield (
        f"components: {totals.components}; in delivery {totals.in_delivery}, "
        f"in the archive {totals.in_archive} with {totals.archived_bytes} bytes"
    )
    yield f"at work: {found.workers_active} runs; groups that wait for one: {found.queue_depth}"
    retries = found.retry_queue
    at = f", the first at {_time(retries.next_at)}" if retries.next_at else ""
    yield f"retry queue: {retries.components} components{at}"
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
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _or_never(at: datetime | None) -> str:
    return _time(at) if at else "never"


def _ago(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
