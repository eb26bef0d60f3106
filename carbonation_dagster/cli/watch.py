"""`carbonation watch`: whose a watch is."""

import click

from carbonation_dagster.cli.commands import Command, Group


@click.group(cls=Group)
def watch() -> None:
    """Say whose a watch is."""


@watch.command("adopt", cls=Command, examples=("carbonation watch adopt incoming",))
@click.argument("name")
@click.pass_obj
def adopt(path: str | None, name: str) -> None:
    """Have the watch NAME belong to this site, and to the directory that lies at its path now.

    A watch belongs to the site and to the directory that were first looked at. Others under its name are
    refused, so that no other files are taken for its own. After this the next look concludes from what
    lies here: what the database knows of the watch, and is not in this directory, has left delivery.
    """
    from carbonation_core.delivery import ownership
    from carbonation_dagster.cli.opening import open_project

    project = open_project(path)
    before = ownership.adopt(project, name)
    site, directory = project.config.service.site_name, project.config.watch_named(name).path
    was = f", and was site {before.site}'s before" if before and before.site != site else ""
    click.echo(f"watch {name} belongs to site {site} and to {directory} now{was}")
