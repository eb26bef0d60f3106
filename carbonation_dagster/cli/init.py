"""`carbonation init`: a new project."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from carbonation_dagster.cli.commands import Command

if TYPE_CHECKING:
    from carbonation_dagster.cli.unit import Role


@click.command(
    cls=Command,
    examples=(
        "carbonation init --dir station",
        "carbonation init --dir station --plugin telescope",
        "carbonation init --dir station --systemd --user archive",
        "carbonation init --dir station --systemd --role worker",
    ),
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where the project goes; else the current directory.",
)
@click.option(
    "--plugin",
    metavar="NAME",
    default="my_plugin",
    show_default=True,
    help="Name of the plugin, which is a Python package.",
)
@click.option("--systemd", is_flag=True, help="With carbonation.service, a unit made from config.toml.")
@click.option("--user", metavar="NAME", help="Whom systemd runs it as; else whoever calls.")
@click.option(
    "--role",
    type=click.Choice(["head", "worker"]),
    help="What this host is where several work for a site: its unit, with a DAGSTER_HOME for Celery.",
)
def init(directory: Path, plugin: str, systemd: bool, user: str | None, role: "Role | None") -> None:
    """Write a new project: config.toml, rules.toml and a plugin of its own, which runs as it stands.

    Prints CREATED or SKIPPED for each file. What is there is never overwritten.
    With --systemd also in a project that is there, for its configuration as it is.
    With --role the head of a site has carbonation.service, and a worker
    carbonation-worker.service.
    """
    from carbonation_dagster.cli.scaffold import require_name, scaffold, write_unit

    if user and not systemd:
        raise click.UsageError("--user is whom systemd runs the service as; it goes with --systemd")
    if role and not systemd:
        raise click.UsageError("--role is of the unit; it goes with --systemd")
    require_name(plugin, directory)
    for what, path in scaffold(directory, plugin=plugin):
        click.echo(f"{what} {path}")
    if systemd:
        for what, path in write_unit(directory, user, role):
            click.echo(f"{what} {path}")
    at = "" if directory == Path() else f"cd {directory}, and then "
    click.echo(f"Next: {at}carbonation db init, carbonation check config, carbonation run", err=True)
