"""`carbonation db`: the schema of the database."""

import json
import sys
from typing import TYPE_CHECKING

import click

from carbonation_dagster.cli.commands import Group

if TYPE_CHECKING:
    from carbonation_core.db.migrate import SchemaStatus
    from carbonation_core.project import Project


@click.group(cls=Group)
def db() -> None:
    """Make, upgrade and inspect the database."""


@db.command("init", examples=("carbonation db init",))
@click.pass_obj
def init(path: str | None) -> None:
    """Make the tables of the service and of the plugin.

    A database that has them is left as it is.
    """
    from carbonation_core.db.schema import require_columns
    from carbonation_core.errors import DatabaseError

    project = _open(path)
    found = _status(project)
    if not found.is_empty and not found.is_current:
        raise DatabaseError(f"{_where(project)} has tables already; run: carbonation db upgrade")
    if found.is_empty:
        _upgrade(project)
    require_columns(project.engine, project.plugin.file_model)
    click.echo(f"{_where(project)} {'is initialised' if found.is_empty else 'was initialised before'}")


@db.command("upgrade", examples=("carbonation db upgrade",))
@click.pass_obj
def upgrade(path: str | None) -> None:
    """Bring the tables to this release and plugin. Safe to repeat."""
    from carbonation_core.db.schema import require_columns
    from carbonation_core.project import require_database

    project = _open(path)
    if _status(project).is_empty:  # to make one is for `init`
        require_database(project)
    before = _upgrade(project)
    for revision in before.pending:
        click.echo(f"applied {revision}")
    require_columns(project.engine, project.plugin.file_model)
    if not before.pending:
        click.echo(f"{_where(project)} is current")


@db.command("revision", examples=("carbonation db revision --autogenerate -m 'cloud cover'",))
@click.option(
    "-m", "--message", required=True, help="What is new, in a few words; also part of the file's name."
)
@click.option(
    "--autogenerate", is_flag=True, help="Write what the plugin's model has and the tables have not."
)
@click.pass_obj
def revision(path: str | None, message: str, autogenerate: bool) -> None:
    """Write the plugin's next revision into its migrations folder, for you to complete.

    The first one begins the plugin's branch. Read what --autogenerate wrote: it
    takes a column that was renamed for one dropped and one added.
    """
    from carbonation_core.db.revisions import new_revision
    from carbonation_core.errors import ConfigError

    project = _open(path)
    plugin = project.plugin
    if plugin.migrations_path is None:
        raise ConfigError("the plugin has no migrations_path, which is where its revisions go")
    made = new_revision(project.engine, plugin.migrations_path, plugin.file_model, message, autogenerate)
    if made is None:
        click.echo("the tables are as the plugin's model says; there is nothing to write")
    else:
        click.echo(f"CREATED {made}")


@db.command("status", examples=("carbonation db status",))
@click.pass_obj
def status(path: str | None) -> None:
    """Say which revisions are applied and pending, where tables differ, and how many rows they have.

    The exit code is 0 when the tables are what this release and plugin need, else 1.
    """
    from carbonation_core.db import migrate, schema

    project = _open(path)
    found = _status(project)
    click.echo(_where(project))
    for revision in found.applied:
        click.echo(f"{'unknown' if revision in found.unknown else 'applied'} {revision}")
    for revision in found.pending:
        click.echo(f"pending {revision}")
    different: list[str] = []
    if found.is_current:
        different = migrate.drift(project.engine, project.plugin.file_model)
        for line in different:
            click.echo(f"differs {line}")
        if any("of the plugin" in line for line in different):
            click.echo(schema.TO_ADD.capitalize(), err=True)
        for table, number in migrate.counts(project.engine, project.plugin.file_model).items():
            click.echo(f"rows    {table} {number}")
    if found.is_empty:
        click.echo("The database is not initialised; run: carbonation db init", err=True)
    elif found.pending:
        click.echo("Run: carbonation db upgrade", err=True)
    sys.exit(0 if found.is_current and not different else 1)


@db.command("import", examples=("carbonation db import old/config.toml --dry-run",))
@click.argument("old_config", metavar="OLD_CONFIG", type=click.Path(exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Say what would be imported; write nothing.")
@click.pass_obj
def import_(path: str | None, old_config: str, dry_run: bool) -> None:
    """Copy what a database of carbonation 0.0.x remembers into this one.

    OLD_CONFIG is the config.toml that names it; it is only read. Groups keep
    their ids and columns, so that programs which poll go on with the cursors
    that they have. What cannot be taken over is listed, with what becomes of
    it. Stop the earlier service before, and start this one afterwards. Safe to
    repeat: what is there is left as it is.
    """
    from pathlib import Path

    from carbonation_core.earlier.take_over import import_earlier
    from carbonation_core.text import counted, printable
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.cli.progress import progress

    project = open_project(path)
    with progress() as advance:
        found = import_earlier(project, Path(old_config), dry_run=dry_run, progress=advance)
    for note in found.notes:
        click.echo(printable(note))
    done = "would be imported" if dry_run else "imported"
    click.echo(f"{done}: {counted(found.groups, 'group')}, {counted(found.files, 'file')}")
    if not dry_run:
        click.echo(f"entries of the feed: {found.feed}")
    if found.before:
        click.echo(f"there already, groups and files: {found.before}")
    if found.renamed:
        click.echo(f"groups with another key, as their files would have it now: {found.renamed}")
    if found.to_first_look:
        click.echo(f"files in delivery that the first look judges as new: {found.to_first_look}")


@db.command(
    "copy", examples=("carbonation db copy --to postgresql://carbonation@db.example.org/carbonation",)
)
@click.option("--to", "url", metavar="URL", required=True, help="The database that is to have it all, empty.")
@click.pass_obj
def copy(path: str | None, url: str) -> None:
    """Copy all that the database remembers into an empty one, of whichever kind.

    Ids, the feed and cursors stay as they are, so that programs which poll
    notice nothing. Stop the service before, and programs that acknowledge. What
    the URL does not say, as the password, comes from the environment or
    secrets.toml, as for config.toml. At the end the two are compared, and the
    lines for config.toml are printed. When it is broken off, or somebody wrote
    meanwhile, nothing is copied, and it may be begun again.
    """
    from carbonation_core.database_copy import copy_database
    from carbonation_core.db.address import section_of
    from carbonation_core.text import counted
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.cli.progress import progress

    project = open_project(path)
    to = section_of(url, "--to", project.config.directory)
    with progress() as advance:
        done = copy_database(project, to, advance)
    for table, number in done.rows.items():
        click.echo(f"rows    {table} {number}")
    click.echo(f"copied {counted(sum(done.rows.values()), 'row')} to database {done.where}")
    click.echo("compared: nobody wrote meanwhile, as many rows in each table, and the feed is the same")
    click.echo(f"\nThe service goes on there once {project.config.path} says so:\n")
    click.echo("[database]")
    given = to.model_dump(exclude_unset=True, exclude_none=True, exclude={"password"})
    for key, value in given.items():
        click.echo(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    if to.password is not None:
        click.echo("# the password: CARBONATION_DATABASE_PASSWORD, or secrets.toml")
    click.echo("\nThen: carbonation db status, and: carbonation run")


def _open(path: str | None) -> "Project":
    from carbonation_dagster.cli.opening import open_unchecked

    return open_unchecked(path)


def _status(project: "Project") -> "SchemaStatus":
    from carbonation_core.db import migrate

    return migrate.status(project.engine, project.plugin.migrations_path)


def _upgrade(project: "Project") -> "SchemaStatus":
    from carbonation_core.db import migrate

    return migrate.upgrade(project.engine, project.plugin.migrations_path)


def _where(project: "Project") -> str:
    return f"database {project.engine.url.render_as_string(hide_password=True)}"
