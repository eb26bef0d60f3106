"""The command line. Each command is a module; what it needs is imported when it runs."""

import atexit
import gc
import importlib
import os
from typing import Any

import click

from carbonation_dagster.cli import streams
from carbonation_dagster.cli.commands import Group
from carbonation_dagster.cli.fault import Fault

COMMANDS = {
    "init": "carbonation_dagster.cli.init:init",
    "check": "carbonation_dagster.cli.check:check",
    "db": "carbonation_dagster.cli.db:db",
    "run": "carbonation_dagster.cli.run:run",
    "worker": "carbonation_dagster.cli.worker:worker",
    "status": "carbonation_dagster.cli.status:status",
    "explain": "carbonation_dagster.cli.explain:explain",
    "query": "carbonation_dagster.cli.query:query",
    "describe": "carbonation_dagster.cli.describe:describe",
    "retry": "carbonation_dagster.cli.retry:retry",
    "arrivals": "carbonation_dagster.cli.arrivals:arrivals",
    "report": "carbonation_dagster.cli.report:report",
    "reconcile": "carbonation_dagster.cli.reconcile:reconcile",
    "watch": "carbonation_dagster.cli.watch:watch",
    "completion": "carbonation_dagster.cli.completion:completion",
}

# What a command has loaded stays: to look through it for garbage again and again, and once more as it
# ends, would be a quarter of a question's time.
FEW_LOOKS = 100_000  # objects more than before
atexit.register(gc.freeze)


class LazyGroup(Group):
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

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command with streams that it can write to, in colour only where that is wanted."""
        streams.prepare()
        gc.set_threshold(FEW_LOOKS)
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            options.setdefault("color", False)
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a `CarbonationError` ends it with its message and exit code 1."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Imported here, as it brings SQLAlchemy, which `--help` does not need.
            from carbonation_core.errors import CarbonationError

            if isinstance(error, CarbonationError):
                raise Fault(str(error)) from error
            if isinstance(error, FileNotFoundError) and _is_nowhere():
                raise Fault("the current directory was removed; change to one that is there") from error
            raise


def _is_nowhere() -> bool:
    try:
        os.getcwd()  # noqa: PTH109  # only whether it can be told
    except FileNotFoundError:
        return True
    return False


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="carbonation-dagster", prog_name="carbonation")
def main() -> None:
    """Watches directories for incoming files, groups, checks, describes and archives them."""
