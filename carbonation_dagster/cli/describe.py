"""`carbonation describe`: metadata of archived groups, asked for again."""

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from carbonation_core.text import printable
from carbonation_dagster.cli.commands import Command, watch_name_option

if TYPE_CHECKING:
    from carbonation_core.pipeline.describe import Redescribed


@click.command(
    cls=Command,
    examples=(
        "carbonation describe --missing-column observer",
        "carbonation describe --group-key run1 --dry-run",
        "carbonation describe --watch-name incoming",
    ),
)
@watch_name_option("Only of this watch.")
@click.option("--group-key", metavar="KEY", help="Only this group.")
@click.option("--missing-column", metavar="NAME", help="Only groups without a value in this column.")
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@click.pass_obj
def describe(
    path: str | None,
    watch_name: str | None,
    group_key: str | None,
    missing_column: str | None,
    dry_run: bool,
) -> None:
    """Ask the extractor again for groups that are archived, and store what it says.

    For example after a column was added to the plugin. Files are read in delivery
    while they are what was archived, else in the archive. No file moves: where
    selection or routing would decide otherwise now, that is said. The feed tells of
    each group that changed. Safe beside a running service, safe to kill and to
    repeat; with --missing-column it goes on where it ended.

    The exit code is 3 when the extractor failed for a group; that keeps what it has.
    """
    from carbonation_core.errors import QueryError
    from carbonation_core.pipeline.describe import Verdict
    from carbonation_core.pipeline.describe import describe as ask_again
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.cli.progress import progress
    from carbonation_dagster.cli.wrong_usage import wrong_usage

    project = open_project(path)
    if watch_name is not None:
        project.config.watch_named(watch_name)
    counts: Counter[Verdict] = Counter()
    with wrong_usage(QueryError), progress() as advance:
        for one in ask_again(
            project, watch_name, group_key, missing_column, dry_run=dry_run, progress=advance
        ):
            counts[one.verdict] += 1
            for line in _lines(one, dry_run):
                click.echo(line)
    if not counts:
        lacking = f' that lacks a value in "{missing_column}"' if missing_column else ""
        click.echo(f"nothing to describe: there is no complete group{lacking}")
        return
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    click.echo(f"{'would be: ' if dry_run else ''}{said}")
    sys.exit(3 if counts[Verdict.FAILED] else 0)


def _lines(one: "Redescribed", dry_run: bool) -> "list[str]":
    """What a person has to know of a group: in a trial also which columns would change."""
    what = f"{one.watch_name}: {one.group_key}"
    lines = [f"{what}: {one.verdict}: {one.reason}"] if one.reason else []
    if dry_run and one.columns:
        lines.append(f"{what}: would change: {', '.join(one.columns)}")
    if one.elsewhere is not None:
        lines.append(f"{what}: stays where it is; now it would be {one.elsewhere}")
    return [printable(line) for line in lines]
