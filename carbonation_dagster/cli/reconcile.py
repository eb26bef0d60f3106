"""`carbonation reconcile`: what the database says against what is there."""

import sys
from dataclasses import astuple, fields

import click


@click.group()
def reconcile() -> None:
    """Compare the database with what lies on disk."""


@reconcile.command("delivery")
@click.option("--watch", "watch_name", metavar="NAME", help="Only this watch.")
@click.pass_obj
def delivery(path: str | None, watch_name: str | None) -> None:
    """Look at all that lies in delivery.

    Files never seen are recorded, vanished ones cleared, and what failed a check
    is checked again. A directory that cannot be looked at changes nothing; the
    others are done, and the exit code is 1.
    """
    from carbonation_core.errors import ScanError
    from carbonation_core.project import open_project
    from carbonation_core.reconcile import DeliveryReconciliation, reconcile_delivery
    from carbonation_dagster.cli.text_table import text_table

    project = open_project(path)
    names = [watch.name for watch in project.config.watch]
    if watch_name is not None and watch_name not in names:
        raise click.UsageError(f'there is no watch "{watch_name}"; known: {", ".join(names)}')
    rows, failed = [], False
    for name in names if watch_name is None else [watch_name]:
        try:
            rows.append([str(value) for value in astuple(reconcile_delivery(project, name))])
        except ScanError as error:
            click.echo(f"{click.style('error:', fg='red')} watch {name}: {error}", err=True)
            failed = True
    headings = [field.name.replace("watch_name", "watch") for field in fields(DeliveryReconciliation)]
    for line in text_table(headings, rows):
        click.echo(line)
    sys.exit(1 if failed else 0)
