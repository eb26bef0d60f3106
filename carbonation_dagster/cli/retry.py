"""`carbonation retry`: another attempt."""

import click

from carbonation_core.lifecycle import RETRIABLE
from carbonation_core.text import counted
from carbonation_dagster.cli.commands import Command, watch_name_option


@click.command(
    cls=Command,
    examples=(
        "carbonation retry",
        "carbonation retry --group-key run1",
        "carbonation retry --watch-name incoming --status timed_out",
    ),
)
@watch_name_option("Only of this watch.")
@click.option("--group-key", metavar="KEY", help="Only this group.")
@click.option(
    "--status",
    type=click.Choice([status.value for status in RETRIABLE]),
    help="Components in this status; else failed, of one group also retry_pending.",
)
@click.pass_obj
def retry(path: str | None, watch_name: str | None, group_key: str | None, status: str | None) -> None:
    """Have components judged anew that have failed or were left.

    They are taken up at the service's next look, or by `carbonation run --once`.
    Only what still lies in delivery can be tried again.
    """
    from carbonation_core.delivery.retry import retry as ask_again
    from carbonation_core.errors import QueryError
    from carbonation_core.lifecycle import FAILING, FileStatus
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.cli.wrong_usage import wrong_usage

    project = open_project(path)
    names = [watch.name for watch in project.config.watch]
    if watch_name is not None and watch_name not in names:
        raise click.UsageError(f'there is no watch "{watch_name}"; known: {", ".join(names)}')
    by_default = (FileStatus.FAILED,) if group_key is None else FAILING
    statuses = (FileStatus(status),) if status else by_default
    with wrong_usage(QueryError):
        number = sum(ask_again(project, watch_name, group_key, one) for one in statuses)
    if number:
        click.echo(f"{counted(number, 'component')} will be tried again, from the next look on")
    else:
        click.echo(f"nothing to try again: no such file in delivery has the status {' or '.join(statuses)}")
