"""The command line. Each command is a module; what it needs is imported when it runs."""

import importlib
import logging
from typing import IO, Any

import click

COMMANDS = {
    "init": "carbonation_dagster.cli.init:init",
    "check": "carbonation_dagster.cli.check:check",
    "db": "carbonation_dagster.cli.db:db",
    "run": "carbonation_dagster.cli.run:run",
    "status": "carbonation_dagster.cli.status:status",
    "explain": "carbonation_dagster.cli.explain:explain",
    "query": "carbonation_dagster.cli.query:query",
    "retry": "carbonation_dagster.cli.retry:retry",
    "reconcile": "carbonation_dagster.cli.reconcile:reconcile",
}


class LazyGroup(click.Group):
    """Commands found by name, and faults of the user told in a sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of a project's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a `CarbonationError` ends it with its message and exit code 1."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Imported here, as it brings SQLAlchemy, which `--help` does not need.
            from carbonation_core.errors import CarbonationError

            if isinstance(error, CarbonationError):
                raise Fault(str(error)) from error
            raise


class Fault(click.ClickException):
    """Why a command could not be done: a sentence for people, or a line of a log that programs read."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Say it on standard error."""
        from carbonation_core.logs import records

        handler = records.begun()
        if handler is not None and isinstance(handler.formatter, records.JsonForm):
            logging.getLogger(__name__).error(self.message)
        else:
            super().show(file)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c",
    "--config",
    type=click.Path(dir_okay=False),
    default=None,
    help="Configuration; else $CARBONATION_CONFIG, else ./config.toml.",
)
@click.version_option(package_name="carbonation-dagster", prog_name="carbonation")
@click.pass_context
def main(ctx: click.Context, config: str | None) -> None:
    """Watches directories for incoming files, groups, checks, describes and archives them."""
    ctx.obj = config
