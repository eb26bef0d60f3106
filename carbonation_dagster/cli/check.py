"""`carbonation check`: what is wrong with the two files and the plugin, and what other rules would change."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carbonation_core.text import counted
from carbonation_dagster.cli.check_plugin import plugin
from carbonation_dagster.cli.commands import Group

if TYPE_CHECKING:
    from carbonation_core.project import Progress, Project
    from carbonation_core.reports.hindsight import Fate
    from carbonation_core.reports.replay import Difference, Replayed
    from carbonation_core.rules.rule_sets import Rules


@click.group(cls=Group)
def check() -> None:
    """Check what was configured."""


@check.command("config", examples=("carbonation check config",))
@click.pass_obj
def config(path: str | None) -> None:
    """Check config.toml, rules.toml and the plugin.

    A fault ends with exit code 1. What is legal but surely wrong is a warning.
    """
    from carbonation_core.config.toml import read_toml
    from carbonation_core.disk.paths import real_path
    from carbonation_core.disk.probe import mode_of
    from carbonation_core.errors import ConfigError
    from carbonation_core.project import rules_on_disk
    from carbonation_core.rules.hosts import host_faults
    from carbonation_core.rules.lint import access_advice, advice, disk_advice, keyword_advice
    from carbonation_dagster.cli.opening import open_unchecked

    project = open_unchecked(path)
    rules = rules_on_disk(project)
    refused, of_database = _of_database(project)
    refused += host_faults(rules, project.config)
    if refused:
        raise ConfigError(*refused)
    warnings = [
        *advice(project.config, rules),
        *keyword_advice(project.config, rules, project.plugin.keywords),
        *_of_plugin(project),
        *disk_advice(project.config, os.path.isdir, real_path),
        *access_advice(project.config, read_toml(project.config.path), mode_of),
        *of_database,
    ]
    for sentence in warnings:
        click.echo(f"{click.style('warning:', fg='yellow')} {sentence}")
    valid = click.style("valid", fg="green")
    click.echo(
        f"{project.config.path}, {project.config.rules.file} and the plugin are {valid}"
        + (f", with {counted(len(warnings), 'warning')}" if warnings else "")
    )


check.add_command(plugin)


@check.command(
    "rules",
    examples=(
        "carbonation check rules candidate.toml",
        "carbonation check rules candidate.toml --format json",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How groups are printed.",
)
@click.option(
    "--diff",
    is_flag=True,
    help="Tell what it would have made of deliveries as they came, beside the rules in force.",
)
@click.option(
    "--since",
    default="30d",
    show_default=True,
    metavar="AGE",
    help="With --diff: of files that came since then.",
)
@click.pass_obj
def rules(path: str | None, file: Path, form: str, diff: bool, since: str) -> None:
    """Try the rules in FILE on every group in the database.

    Prints what would change, group by group: which would be newly accepted,
    rejected, rerouted, failing or waiting, and how many of each there are.
    Nothing is written, and the files themselves are not looked at. A fault in
    FILE ends with exit code 1; what would change does not.

    With --diff, groups are tried as they really came, by the times in the
    history: which would have been archived earlier or later, without what,
    elsewhere, or not at all.
    """
    from carbonation_core.project import open_project
    from carbonation_core.reports.replay import Replayed, candidate_rules, left_out, replay
    from carbonation_dagster.cli.progress import is_drawn, progress

    project = open_project(path)
    candidate = candidate_rules(project, file)
    if diff:
        _tell_hindsight(project, candidate, since, form)
        return
    notes = left_out(project, candidate)
    counts: Counter[Difference] = Counter()
    replayed = replay(project, candidate)
    changes: Iterable[Replayed]
    with progress() as advance:
        changes = _changes(_told_of(replayed, advance, _number(project)), counts)
        if is_drawn():
            changes = list(changes)  # lines among the bar's would be read by nobody
    for portion in (_as_json if form == "json" else _as_text)(iter(changes), counts, notes):
        click.echo(portion, nl=False)  # colour on a terminal only


def _tell_hindsight(project: "Project", candidate: "Rules", since: str, form: str) -> None:
    from carbonation_core.reports.hindsight import Change, hindsight
    from carbonation_core.text import LONGEST_AGE, parse_duration
    from carbonation_dagster.cli.printing import to_json
    from carbonation_dagster.cli.text_table import text_table

    try:
        start = project.clock() - parse_duration(since, longest=LONGEST_AGE)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from None
    found = list(hindsight(project, candidate, start))
    counts = Counter(one.change for one in found)
    changed = [one for one in found if one.change is not Change.UNCHANGED]
    if form == "json":
        rows = [
            {
                "watch_name": one.watch_name,
                "group_key": one.group_key,
                "change": one.change.value,
                "reason": one.reason,
                "before": _fate(one.before),
                "after": _fate(one.after),
            }
            for one in changed
        ]
        click.echo(to_json({"counts": {change: counts[change] for change in Change}, "changes": rows}))
        return
    lines = list(text_table(tuple(Change), [[str(counts[change]) for change in Change]]))
    rows_of_text = [(one.change.value, one.watch_name, one.group_key, one.reason) for one in changed]
    if rows_of_text:
        lines += ["", *text_table(("would be", "watch", "group", "why"), rows_of_text)]
    click.echo("\n".join(lines))


def _fate(fate: "Fate | None") -> dict[str, object] | None:
    if fate is None:
        return None
    at = fate.at.isoformat() if fate.at else None
    where = _where(fate.route)
    return {"archived_at": at if where else None, "to": where, "lacks": fate.without, "files": fate.files}


def _number(project: "Project") -> int:
    from carbonation_core.api import Database

    watches = [watch.name for watch in project.config.watch]
    return Database(project).query_files({"watch_name": watches}, count_only=True)


def _told_of(replayed: "Iterator[Replayed]", advance: "Progress", of: int) -> "Iterator[Replayed]":
    for number, one in enumerate(replayed, 1):
        if number % 100 == 0 or number == of:
            advance("groups tried", number, of)
        yield one


def _changes(replayed: "Iterator[Replayed]", counts: "Counter[Difference]") -> "Iterator[Replayed]":
    from carbonation_core.reports.replay import Difference

    for one in replayed:
        counts[one.difference] += 1
        if one.difference is not Difference.UNCHANGED:
            yield one


def _as_text(changes: "Iterator[Replayed]", counts: "Counter[Difference]", notes: list[str]) -> Iterator[str]:
    from carbonation_core.reports.replay import Difference
    from carbonation_dagster.cli.text_table import terminal_width, text_table

    first = next(changes, None)
    if first is not None:
        rows = (
            (one.difference, one.watch_name, one.group_key, _place(one.before), _place(one.after), one.reason)
            for group in ([first], changes)
            for one in group
        )
        headings = ("would be", "watch", "group", "from", "to", "why")
        yield from (f"{line}\n" for line in text_table(headings, rows, width=terminal_width()))
        yield "\n"
    numbers = [str(counts[difference]) for difference in Difference]
    yield from (f"{line}\n" for line in text_table(tuple(Difference), [numbers]))
    yield from (f"not told: {note}\n" for note in notes)


def _as_json(changes: "Iterator[Replayed]", counts: "Counter[Difference]", notes: list[str]) -> Iterator[str]:
    from carbonation_core.reports.replay import Difference
    from carbonation_dagster.cli.printing import as_json, to_json

    rows = (
        {
            "watch_name": one.watch_name,
            "group_key": one.group_key,
            "difference": one.difference.value,
            "reason": one.reason,
            "from": _where(one.before),
            "to": _where(one.after),
        }
        for one in changes
    )
    yield '{"changes": '
    yield from as_json(("watch_name", "group_key", "difference", "reason", "from", "to"), rows)
    numbers = {difference: counts[difference] for difference in Difference}
    yield f', "counts": {to_json(numbers)}, "not_told": {to_json(notes)}}}\n'


def _place(route: tuple[str, str] | None) -> str:
    return f"{route[0]}: {route[1]}" if route else ""


def _where(route: tuple[str, str] | None) -> dict[str, str] | None:
    return {"archive": route[0], "directory": route[1]} if route else None


def _of_plugin(project: "Project") -> Iterator[str]:
    """That another copy of the plugin is used than the one beside config.toml, if they differ."""
    name = project.plugin.file_model.__module__.partition(".")[0]
    file = sys.modules[name].__file__
    beside = project.config.directory / name
    if file is None or not beside.is_dir():
        return
    used = Path(file).parent
    for one in beside.rglob("*.py"):
        copy = used / one.relative_to(beside)
        if not copy.is_file() or copy.read_bytes() != one.read_bytes():
            yield (
                f'the plugin that is used is "{used}", which is installed; "{beside}" is another; '
                f"to install that: pip install {beside}"
            )
            return


def _of_database(project: "Project") -> tuple[list[str], list[str]]:
    """Why watches are not ours; and why it cannot be used, how its tables differ, what is of nothing here."""
    from carbonation_core.db import counts as census
    from carbonation_core.db import migrate
    from carbonation_core.db.engine import reading
    from carbonation_core.delivery.ownership import refusals
    from carbonation_core.errors import DatabaseError
    from carbonation_core.project import require_database

    try:
        require_database(project)
    except DatabaseError as error:
        return [], [str(error)]
    differences = migrate.drift(project.engine, project.plugin.file_model)
    watches = [watch.name for watch in project.config.watch]
    archives = [archive.name for archive in project.config.archive]
    with reading(project.engine) as connection:
        found = census.of_unknown_watches(connection, watches)
        elsewhere = census.of_unknown_archives(connection, watches, archives)
    warnings = [f"the tables differ: {line}; see: carbonation db status" for line in differences]
    warnings += [
        f'{counted(number, "group")} in the database of watch "{name}", which is configured no more'
        for name, number in found.items()
    ]
    warnings += [
        f'{counted(number, "group")} in archive "{name}", which is configured no more: '
        "nothing compares what lies there"
        for name, number in elsewhere.items()
    ]
    return refusals(project), warnings
