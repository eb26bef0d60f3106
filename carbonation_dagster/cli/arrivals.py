"""`carbonation arrivals`: what was expected, what came, and what need not come."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

import click

from carbonation_core.lifecycle import ArrivalState
from carbonation_dagster.cli.commands import Group, watch_name_option

if TYPE_CHECKING:
    from carbonation_core.reports.arrivals import Arrival

DAY = timedelta(days=1)
MARKS = {
    ArrivalState.EXPECTED: "-",
    ArrivalState.AT_RISK: "?",
    ArrivalState.ARRIVED: ".",
    ArrivalState.LATE: "L",
    ArrivalState.INCOMPLETE: "I",
    ArrivalState.MISSED: "X",
    ArrivalState.EXCUSED: "e",
}
CAME_LATE = "l"
LEGEND = (
    ". came in time, l came late, X missed, L late, I incomplete, ? at risk, - to come, e excused; "
    "days are those of UTC"
)
WORST = f"XLI{CAME_LATE}?-e."  # a mark of many has the first of these that there is
WIDEST = 96  # marks of a day


@click.group(cls=Group)
def arrivals() -> None:
    """What a watch expects at known times, and what came."""


@arrivals.command(
    "show",
    examples=(
        "carbonation arrivals show",
        "carbonation arrivals show --watch-name station --since 7d",
        "carbonation arrivals show --state missed --state late --format json",
    ),
)
@watch_name_option("Only of this watch.")
@click.option(
    "--since",
    metavar="TIME",
    default="30d",
    show_default=True,
    help="From then on: a time, or a span before now such as 7d.",
)
@click.option(
    "--state",
    "states",
    type=click.Choice([state.value for state in ArrivalState]),
    multiple=True,
    help="Only in this state; can be repeated.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["calendar", "table", "csv", "json"]),
    default="calendar",
    show_default=True,
    help="A mark for each arrival and a line for each day, or a row for each arrival.",
)
@click.pass_obj
def show(path: str | None, watch_name: str | None, since: str, states: Sequence[str], form: str) -> None:
    """Print what was expected and what came, as the last look at each watch left it."""
    from carbonation_core.errors import QueryError
    from carbonation_core.reports.arrivals import Arrival, board
    from carbonation_dagster.cli.moments import moment
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.cli.printing import WRITERS
    from carbonation_dagster.cli.wrong_usage import wrong_usage

    project = open_project(path)
    with wrong_usage(QueryError):
        found = board(project, watch_name, moment(since, "--since"), None, states)
    if form == "calendar":
        for line in calendar(found):
            click.echo(line)
        return
    names = [field.name for field in fields(Arrival)]
    rows = ({name: _written(getattr(one, name)) for name in names} for one in found)
    for portion in WRITERS[form](names, rows):
        if form == "table":
            click.echo(portion, nl=False)  # colour on a terminal only
        else:
            sys.stdout.write(portion)
    sys.stdout.flush()


@arrivals.command(
    "excuse",
    examples=('carbonation arrivals excuse station --from 2026-03-29T02:00 --reason "power cut"',),
)
@click.argument("watch_name", metavar="WATCH")
@click.option("--from", "since", metavar="TIME", required=True, help="The first that is excused; in UTC.")
@click.option("--to", "until", metavar="TIME", help="The last one; absent: the first alone.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; it stands on the board.")
@click.pass_obj
def excuse(path: str | None, watch_name: str, since: str, until: str | None, reason: str) -> None:
    """Say that what is expected in that time need not come: nobody is told of it any more.

    What comes all the same has arrived.
    """
    from carbonation_core.errors import QueryError
    from carbonation_core.reports.arrivals import excuse as let_off
    from carbonation_core.text import counted
    from carbonation_dagster.cli.moments import moment
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.cli.wrong_usage import wrong_usage

    project = open_project(path)
    begin = moment(since, "--from")
    with wrong_usage(QueryError):
        number = let_off(project, watch_name, begin, moment(until, "--to") if until else begin, reason)
    if number:
        click.echo(f"{counted(number, 'arrival')} excused: {reason}")
    else:
        click.echo("nothing to excuse: nothing is expected in that time that has not come")


def calendar(found: "Iterable[Arrival]") -> Iterator[str]:
    """A line for each day of each expectation, with a mark for each arrival."""
    number = 0
    for (watch_name, expectation), group in groupby(found, key=lambda one: (one.watch_name, one.expectation)):
        rows = list(group)
        number += len(rows)
        yield click.style(f"{watch_name}: {expectation or 'not expected'}", bold=True)
        for day, those in groupby(rows, key=lambda one: (one.expected_at or one.arrived_at or _NEVER).date()):
            of_day = list(those)
            if expectation is None:
                yield f"  {day}  {', '.join(str(one.group_key) for one in of_day)}"
            else:
                yield f"  {day}  {_strip(of_day)}{_counts(of_day)}"
    if number:
        yield ""
        yield LEGEND
    else:
        yield "nothing is expected in that time, and nothing came; [[watch.expect]] says what is expected"


_NEVER = datetime.min.replace(tzinfo=UTC)


def _strip(rows: "Sequence[Arrival]") -> str:
    marks = [CAME_LATE if one.arrived_at and one.is_late else MARKS[one.state] for one in rows]
    size = -(-len(marks) // WIDEST)
    return "".join(min(marks[start : start + size], key=WORST.index) for start in range(0, len(marks), size))


def _counts(rows: "Sequence[Arrival]") -> str:
    shown = (ArrivalState.MISSED, ArrivalState.LATE, ArrivalState.INCOMPLETE, ArrivalState.AT_RISK)
    counts = {str(state): sum(one.state is state for one in rows) for state in shown}
    counts["came late"] = sum(one.arrived_at is not None and one.is_late for one in rows)
    told = [f"{number} {name.replace('_', ' ')}" for name, number in counts.items() if number]
    return f"  {', '.join(told)}" if told else ""


def _written(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if isinstance(value, ArrivalState) else value
