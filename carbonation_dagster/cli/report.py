"""`carbonation report`: what came and what became of it, as a page."""

from pathlib import Path

import click

from carbonation_dagster.cli.commands import Command, watch_name_option
from carbonation_dagster.cli.fault import Fault


@click.command(
    cls=Command,
    examples=(
        "carbonation report --html report.html",
        "carbonation report --html week.html --since 7d --watch-name incoming",
    ),
)
@click.option(
    "--html",
    "file",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page that is written; `-` is standard output.",
)
@click.option(
    "--since",
    metavar="TIME",
    default="1d",
    show_default=True,
    help="A time, or a span before now such as 7d.",
)
@watch_name_option("Only of this watch.")
@click.pass_obj
def report(path: str | None, file: Path, since: str, watch_name: str | None) -> None:
    """Write a page that shows what was delivered, what became of it and how fast, and why files failed.

    It is one file that needs no network, to be looked at or sent by mail.
    """
    from carbonation_core.reports.activity import activity
    from carbonation_core.reports.page import page
    from carbonation_core.text import listing, quoted
    from carbonation_dagster.cli.moments import moment
    from carbonation_dagster.cli.opening import open_project

    project = open_project(path)
    names = [watch.name for watch in project.config.watch]
    if watch_name is not None and watch_name not in names:
        raise click.UsageError(f"there is no watch {quoted(watch_name)}; known: {listing(names)}")
    begin = moment(since, "--since")
    wanted = [watch_name] if watch_name is not None else names
    found = [activity(project, name, begin) for name in wanted]
    title = f"Deliveries of {project.config.directory.name}"
    written = page(title, found, project.clock())
    if str(file) == "-":
        click.echo(written, nl=False)
        return
    try:
        file.write_text(written, encoding="utf-8")
    except OSError as error:
        raise Fault(f"{file} cannot be written: {error.strerror or error}") from error
    click.echo(f"written: {file}")
