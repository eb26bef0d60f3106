"""Faults that lie in what was typed end with exit code 2, as click's own do."""

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def wrong_usage(*errors: type[Exception]) -> Iterator[None]:
    """Make these errors faults of usage."""
    try:
        yield
    except errors as error:
        raise click.UsageError(str(error)) from error
