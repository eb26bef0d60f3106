"""`carbonation check config`: what is wrong with the two files and the plugin, and what surely is."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from carbonation_core.project import Project


@click.group()
def check() -> None:
    """Check what was configured."""


@check.command("config")
@click.pass_obj
def config(path: str | None) -> None:
    """Check config.toml, rules.toml and the plugin.

    A fault ends with exit code 1. What is legal but surely wrong is a warning.
    """
    from carbonation_core.advice import advice, disk_advice
    from carbonation_core.project import open_unchecked, rules_on_disk

    project = open_unchecked(path)
    rules = rules_on_disk(project)
    warnings = [
        *advice(project.config, rules),
        *disk_advice(project.config, Path.is_dir, Path.resolve),
        *_left_over(project),
    ]
    for sentence in warnings:
        click.echo(f"{click.style('warning:', fg='yellow')} {sentence}")
    how_many = f", with {len(warnings)} warnings" if len(warnings) > 1 else ", with 1 warning"
    valid = click.style("valid", fg="green")
    click.echo(
        f"{project.config.path}, {project.config.rules.file} and the plugin are {valid}"
        + (how_many if warnings else "")
    )


def _left_over(project: "Project") -> list[str]:
    """What belongs to no watch any more, if there is a database that knows."""
    from carbonation_core.db import census
    from carbonation_core.db.engine import reading
    from carbonation_core.errors import DatabaseError
    from carbonation_core.status import require_database

    try:
        require_database(project)
    except DatabaseError as error:
        return [str(error)]
    with reading(project.engine) as connection:
        found = census.of_unknown_watches(connection, [watch.name for watch in project.config.watch])
    return [
        f'{number} groups in the database belong to watch "{name}", which is configured no more'
        for name, number in found.items()
    ]
