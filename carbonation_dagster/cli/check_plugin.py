"""`carbonation check plugin`: what the plugin and the rules make of files, group by group."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carbonation_core.text import counted, printable
from carbonation_dagster.cli.commands import Command, watch_name_option

if TYPE_CHECKING:
    from carbonation_core.plugin import Plugin
    from carbonation_core.reports.preview import Preview
    from carbonation_core.reports.trial import Trial


@click.command(
    "plugin",
    cls=Command,
    examples=(
        "carbonation check plugin",
        "carbonation check plugin samples/run1.dat samples/run1.json",
        "carbonation check plugin samples --watch-name incoming --format json",
    ),
)
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@watch_name_option("The watch as whose delivery the files are tried; else the one that they lie in.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How groups are printed.",
)
@click.pass_obj
def plugin(path: str | None, paths: tuple[Path, ...], watch_name: str | None, form: str) -> None:
    """Try the plugin and rules.toml on files, as if they were delivered now.

    PATHS are files and directories, in a watch or anywhere; without any, all that
    lies in the watches is tried. Shows of each group what every stage says and how
    long that takes, the columns, and where it would go. The service decides by the
    same code. Nothing is written, and no database is asked.

    The exit code is 1 when an attempt would fail, as when a function raises.
    """
    from carbonation_core.project import rules_on_disk
    from carbonation_core.reports.trial import try_files
    from carbonation_dagster.cli.opening import open_unchecked

    project = open_unchecked(path)
    if watch_name is not None:
        project.config.watch_named(watch_name)
    trial = try_files(project, rules_on_disk(project), paths, watch_name)
    lines = _as_json(trial) if form == "json" else _as_text(trial, project.plugin)
    for line in lines:
        click.echo(line)
    sys.exit(1 if trial.failed else 0)


def _as_text(trial: "Trial", of: "Plugin") -> Iterator[str]:
    from carbonation_core.plugin import own_columns

    types = {column.key: str(column.type) for column in own_columns(of)}
    for one in trial.groups:
        yield from _of_group(one, types)
        yield ""
    for kind, name in trial.unasked:
        yield f'not asked: {kind} "{name}"; no group came to it'
    if not trial.groups:
        yield "there are no files to try; name some, or put them into a watch"
        return
    failed = len(trial.failed)
    yield f"of {counted(len(trial.groups), 'group')} {failed or 'none'} would fail"


def _of_group(one: "Preview", types: dict[str, str]) -> Iterator[str]:
    from carbonation_core.reports.preview import ARCHIVE, PASSED
    from carbonation_dagster.cli.printing import cell
    from carbonation_dagster.cli.text_table import terminal_width, text_table

    width = terminal_width()
    width = None if width is None else width - 2  # it is indented
    colour = "green" if one.verdict == ARCHIVE else "yellow"
    verdict = click.style(printable(one.verdict), fg=colour)
    yield f"{one.watch_name}: {printable(one.group_key)}: {verdict}" + (
        f" to {printable(one.destination)}" if one.destination else ""
    )
    if not one.stages:
        yield f"  {printable(one.reason)}"
        return
    yield f"  files: {printable(', '.join(one.files))}"
    yield from (
        f"  {line}"
        for line in text_table(
            ("stage", "says", "ms", "why"),
            [(said.stage, said.verdict, f"{1000 * said.seconds:.1f}", said.reason) for said in one.stages],
            width=width,
        )
    )
    if any(said.stage == "extract" and said.verdict == PASSED for said in one.stages) and types:
        rows = [(name, kind, cell(one.metadata.get(name))) for name, kind in types.items()]
        yield from (f"  {line}" for line in text_table(("column", "type", "value"), rows, width=width))


def _as_json(trial: "Trial") -> Iterator[str]:
    from carbonation_core.db.columns import as_json
    from carbonation_dagster.cli.printing import to_json

    yield to_json(
        {
            "groups": [
                {
                    "watch_name": one.watch_name,
                    "group_key": one.group_key,
                    "verdict": one.verdict,
                    "reason": one.reason,
                    "destination": one.destination,
                    "files": one.files,
                    "metadata": as_json(one.metadata),
                    "stages": [
                        {
                            "stage": said.stage,
                            "verdict": said.verdict,
                            "reason": said.reason,
                            "seconds": said.seconds,
                        }
                        for said in one.stages
                    ],
                }
                for one in trial.groups
            ],
            "not_asked": [{"kind": kind, "name": name} for kind, name in trial.unasked],
        }
    )
