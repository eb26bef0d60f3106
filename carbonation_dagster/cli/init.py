"""`carbonation init`: a new project."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where the project goes; else the current directory.",
)
def init(directory: Path) -> None:
    """Write a new project: config.toml, rules.toml and a plugin of its own, which runs as it stands.

    Prints CREATED or SKIPPED for each file. What is there is never overwritten.
    """
    from carbonation_dagster.cli.scaffold import scaffold

    for what, path in scaffold(directory):
        click.echo(f"{what} {path}")
    at = "" if directory == Path() else f"cd {directory}, and then "
    click.echo(f"Next: {at}carbonation db init, carbonation check config, carbonation run", err=True)
