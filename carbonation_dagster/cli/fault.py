"""How a command says that it could not do what it was asked."""

import logging
from typing import IO, Any

import click


class Fault(click.ClickException):
    """Why a command could not be done: a sentence for people, or a line of a log that programs read."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Say it on standard error."""
        from carbonation_core.logs import records

        handler = records.begun()
        if handler is not None and isinstance(handler.formatter, records.JsonForm):
            logging.getLogger("carbonation_dagster.cli").error(self.message)
        else:
            super().show(file)
