"""`carbonation reconcile`: what the database says against what is there."""

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import astuple, fields, replace
from typing import TYPE_CHECKING

import click

from carbonation_core.text import printable
from carbonation_dagster.cli.commands import OLD_NAMES, Group, watch_name_option

if TYPE_CHECKING:
    from carbonation_core.project import Project
    from carbonation_core.reconcile.archive import ArchiveReconciliation
    from carbonation_core.reconcile.scope import Scope


_no_progress_option = click.option(
    "--no-progress", is_flag=True, help="Without a progress bar, which only a terminal shows."
)


@click.group(cls=Group)
def reconcile() -> None:
    """Compare the database with what lies on disk."""


@reconcile.command(
    "delivery",
    context_settings=OLD_NAMES,
    examples=("carbonation reconcile delivery", "carbonation reconcile delivery --watch-name incoming"),
)
@watch_name_option("Only this watch.")
@_no_progress_option
@click.pass_obj
def delivery(path: str | None, watch_name: str | None, no_progress: bool) -> None:
    """Look at all that lies in delivery.

    Files never seen are recorded, vanished ones cleared, and what failed a check
    is checked again. A directory that cannot be looked at changes nothing; the
    others are done, and the exit code is 1.
    """
    from carbonation_core.errors import ScanError
    from carbonation_core.reconcile.delivery import DeliveryReconciliation, reconcile_delivery
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.cli.progress import progress
    from carbonation_dagster.cli.text_table import text_table

    project = open_project(path)
    asked = [watch_name] if watch_name is not None else []
    names = _chosen("watch", asked, [watch.name for watch in project.config.watch])
    rows, failed = [], False
    for name in names:
        try:
            with progress(f"{name}: files ", shown=not no_progress) as advance:
                found = reconcile_delivery(project, name, advance)
            rows.append([str(value) for value in astuple(found)])
        except ScanError as error:
            _echo_error(f"watch {name}: {error}")
            failed = True
    headings = [field.name.replace("watch_name", "watch") for field in fields(DeliveryReconciliation)]
    for line in text_table(headings, rows):
        click.echo(line)
    sys.exit(1 if failed else 0)


@reconcile.command(
    "archive",
    context_settings=OLD_NAMES,
    examples=(
        "carbonation reconcile archive --dry-run",
        "carbonation reconcile archive --archive main 2026/01",
        "carbonation reconcile archive --archive main --adopt",
    ),
)
@click.argument("paths", nargs=-1, type=click.Path())
@click.option(
    "--archive", "archive_names", metavar="NAME", multiple=True, help="Only this archive; can be repeated."
)
@watch_name_option("Only files of this watch.")
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@click.option(
    "--workers", type=click.IntRange(1, 1000), metavar="N", help="Threads; else `workers` of config.toml."
)
@_no_progress_option
@click.option("--adopt", is_flag=True, help="Register files that the database knows nothing of.")
@click.option("--force", is_flag=True, help="Whatever share of an archive would be called missing.")
@click.pass_obj
def archive(
    path: str | None,
    paths: tuple[str, ...],
    archive_names: tuple[str, ...],
    watch_name: str | None,
    dry_run: bool,
    workers: int | None,
    no_progress: bool,
    adopt: bool,
    force: bool,
) -> None:
    """Look for all that should lie in the archives, and for what should not.

    What has vanished is missing from then on, what is back is archived again,
    and files that the database knows nothing of are listed. PATHS are the parts
    of an archive to look at; relative ones are found from here, else below
    base_path. A directory that cannot be read, a mount that has gone, or a loss
    of more than max_loss changes nothing; the other archives are done, and the
    exit code is 1.
    """
    from carbonation_core.errors import ScanError
    from carbonation_core.reconcile.archive import reconcile_archive
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.cli.progress import progress

    project = open_project(path)
    scopes = _scopes(project, archive_names, watch_name, paths, adopt)
    done: list[ArchiveReconciliation] = []
    for name, scope in scopes.items():
        try:
            with progress(f"{name}: files ", shown=not no_progress) as advance:
                found = reconcile_archive(
                    project,
                    name,
                    replace(scope, watch_name=watch_name),
                    dry_run=dry_run,
                    adopt=adopt,
                    force=force,
                    workers=workers,
                    progress=advance,
                )
        except ScanError as error:
            _echo_error(f"archive {name}: {error}")
            continue
        done.append(found)
        for line in _findings(found):
            click.echo(line)
        if found.refused:
            _echo_error(f"archive {name}: {found.refused}")
    for line in _summary(done):
        click.echo(line)
    sys.exit(1 if len(done) < len(scopes) or any(found.refused for found in done) else 0)


def _scopes(
    project: "Project",
    archive_names: Collection[str],
    watch_name: str | None,
    paths: Sequence[str],
    adopt: bool,
) -> "dict[str, Scope]":
    """What is to be looked through, by archive; faults of usage are found before anything is done."""
    from carbonation_core.errors import QueryError
    from carbonation_core.reconcile.adoption import adopter_of
    from carbonation_core.reconcile.scope import archives_of, paths_in
    from carbonation_dagster.cli.wrong_usage import wrong_usage

    names = _chosen("archive", archive_names, [archive.name for archive in project.config.archive])
    if watch_name is not None:
        _chosen("watch", [watch_name], [watch.name for watch in project.config.watch])
        names = [name for name in names if archive_names or name in archives_of(project, watch_name)]
    with wrong_usage(QueryError):
        scopes = paths_in(project, names, paths)
        if adopt:
            for name in scopes:
                adopter_of(project, project.config.archive_named(name), watch_name)
    return scopes


def _chosen(what: str, asked: Collection[str], known: list[str]) -> list[str]:
    for name in asked:
        if name not in known:
            raise click.UsageError(f'there is no {what} "{name}"; known: {", ".join(known)}')
    return [name for name in known if name in asked or not asked]


def _echo_error(sentence: str) -> None:
    click.echo(f"{click.style('error:', fg='red')} {sentence}", err=True)


def _findings(found: "ArchiveReconciliation") -> Iterator[str]:
    """A line for each finding."""
    from carbonation_core.reconcile.findings import Kind

    # Of a trial, and of what was refused, nothing has happened yet.
    changing = (Kind.MISSING, Kind.RETURNED, Kind.ADOPTED)
    would_be = "would be " if found.dry_run or found.refused else ""
    for one in found.findings:
        kind = f"{would_be if one.kind in changing else ''}{one.kind}"
        yield printable(f"{kind}: {one.path}" + (f" ({one.reason})" if one.reason else ""))


def _summary(done: "list[ArchiveReconciliation]") -> Iterator[str]:
    from carbonation_core.reconcile.findings import Kind
    from carbonation_dagster.cli.text_table import text_table

    always = (Kind.MISSING, Kind.RETURNED, Kind.STILL_MISSING, Kind.UNKNOWN)
    kinds = [kind for kind in Kind if kind in always or any(found.number(kind) for found in done)]
    headings = ("archive", "compared", *kinds)
    rows = [
        (found.archive_name, str(found.compared), *(str(found.number(kind)) for kind in kinds))
        for found in done
    ]
    yield from text_table(headings, rows)
    for found in done:
        for remark in found.remarks:
            yield f"archive {found.archive_name}: {remark}"
