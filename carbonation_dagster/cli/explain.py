"""`carbonation explain`: the whole story of a file or a group."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from carbonation_core.text import counted, printable
from carbonation_dagster.cli.commands import Command, watch_name_option

if TYPE_CHECKING:
    from carbonation_core.reports.explain import Explanation, FileStory, GroupStory, WatchVerdict


@click.command(
    cls=Command,
    examples=(
        "carbonation explain run1.dat",
        "carbonation explain incoming/run1.dat",
        "carbonation explain run1 --watch-name incoming --json",
    ),
)
@click.argument("what", metavar="PATH|GROUP_KEY")
@watch_name_option("Only as this watch sees it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def explain(config: str | None, what: str, watch_name: str | None, as_json: bool) -> None:
    """Tell the whole story of a file or a group: where it stands, what it waits for, what happened to it.

    PATH is that of a delivered or an archived file: absolute, relative to the
    current directory or to a watch's, or a name alone. If several watches know it,
    each is told of. Of a path that no watch has seen, it says whether one would
    take it; the exit code is then 1.
    """
    from carbonation_core.reports.explain import explain as explanation_of
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.cli.printing import to_json

    project = open_project(config)
    names = [watch.name for watch in project.config.watch]
    told = explanation_of(project, what, watch_name)
    if watch_name is not None and watch_name not in names and not told.is_known:
        raise click.UsageError(f'there is no watch "{watch_name}"; known: {", ".join(names)}')
    if as_json:
        click.echo(to_json({"known": told.is_known, **asdict(told)}))
    else:
        for line in _lines(told):
            click.echo(line)
    if not told.is_known:
        click.echo(told.fault, err=True)
        sys.exit(1)


def _lines(told: "Explanation") -> Iterator[str]:
    parts = [
        *(_group(group) for group in told.groups),
        *(_file(file) for file in told.files),
        *(_watch(watch) for watch in told.watches),
    ]
    for number, part in enumerate(parts):
        if number:
            yield ""
        yield from part
    if told.more:
        yield ""
        yield f'there are more files of the name "{told.asked}"; ask for one by its path'


def _group(group: "GroupStory") -> Iterator[str]:
    label = f" ({printable(group.file_type)})" if group.file_type else ""
    yield _title(f"group {group.group_key} of watch {group.watch_name}") + label
    yield f"  {printable(group.stands)}"
    times = [f"begun {_time(group.created_at)}"]
    times += [f"opened again {_time(group.reopened_at)}"] if group.reopened_at else []
    times += [f"complete {_time(group.completed_at)}"] if group.completed_at else []
    yield f"  {', '.join(times)}"
    if group.archive_path:
        rules = f", by rules {group.rules_digest[:12]}" if group.rules_digest else ""
        yield f"  in archive {group.archive_name}: {printable(group.archive_path)}{rules}"
    for file in group.files:
        yield from _described(file)
    yield from _attempts(group)
    for entry in group.feed:
        yield f"  {_time(entry.at)}  in the feed as number {entry.sequence}: {entry.event}"
    yield from _history(group.files)


def _file(file: "FileStory") -> Iterator[str]:
    yield _title(f"file {file.path} of watch {file.watch_name}")
    yield "  has no group"
    yield from _described(file)
    yield from _history([file])


def _described(file: "FileStory") -> Iterator[str]:
    yield f"  {_title(file.path)}: {file.status}, {counted(file.size_bytes, 'byte')}"
    yield f"    {printable(file.stands)}"
    failed = f"; attempts failed: {file.attempts_failed}" if file.attempts_failed else ""
    yield f"    first seen {_time(file.seen_at)}; in delivery: {file.on_disk}{failed}"
    for copy in file.copies:
        until = f", superseded {_time(copy.superseded_at)}" if copy.superseded_at else ""
        until += ", and not there" if copy.path in file.missing_copies else ""
        yield f"    archived in {copy.archive_name} {_time(copy.copied_at)}{until}: {printable(copy.path)}"
        digest = copy.digest or "not read yet"
        yield f"      {counted(copy.size_bytes, 'byte')}, SHA-256 {digest}, run {copy.run_id or '-'}"


def _attempts(group: "GroupStory") -> Iterator[str]:
    for attempt in group.attempts:
        run = f"run {attempt.run_id}" if attempt.run_id else "no run yet"
        run += f" on {attempt.host}" if attempt.host else ""
        ended = attempt.outcome in ("archived", "unchanged") or attempt.stage is None
        stage = "" if ended else f" after {attempt.stage}"
        reason = f": {printable(attempt.reason)}" if attempt.reason else ""
        outcome = (attempt.outcome or f"{attempt.status}, open").replace("_", " ")
        yield f"  {_time(attempt.created_at)}  batch {attempt.batch_id}, {run}: {outcome}{stage}{reason}"


def _history(files: "tuple[FileStory, ...] | list[FileStory]") -> Iterator[str]:
    steps = [(step.at, file, step) for file in files for step in file.history]
    steps.sort(key=lambda one: one[0])
    width = max((len(printable(_name(file))) for file in files), default=0)
    yield "  history"
    before: tuple[object, ...] = ()
    for at, file, step in steps:
        change = f"{step.from_status} → {step.to_status}" if step.from_status else step.to_status
        # What a pair went through together is told once.
        this = (at, step.event, step.reason, step.run_id)
        same, before = this == before, this
        reason = f": {printable(step.reason)}" if step.reason and not same else ""
        run = f" (run {step.run_id})" if step.run_id and not same else ""
        yield f"    {_time(at)}  {printable(_name(file)):{width}}  {change}, {step.event}{reason}{run}"


def _watch(watch: "WatchVerdict") -> Iterator[str]:
    yield f"{_title(watch.path)}: {watch.on_disk}"
    when = "; its next look will see it" if watch.takes and watch.on_disk == "there" else ""
    yield f"  watch {watch.watch_name} {printable(watch.reason)}{when}"


def _name(file: "FileStory") -> str:
    return file.path.rpartition("/")[2]


def _title(text: str) -> str:
    return click.style(printable(text), bold=True)


def _time(at: datetime) -> str:
    from carbonation_core.text import shown

    return shown(at)
