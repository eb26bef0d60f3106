"""How far something has come, in bars on a terminal; elsewhere nothing is drawn."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carbonation_core.project import Progress as Advance

DRAWN_EVERY = 0.1  # seconds


def is_drawn() -> bool:
    """Whether somebody looks at standard error who can see a bar."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def progress(prefix: str = "", *, shown: bool = True) -> "Iterator[Advance]":
    """Draw a bar for each thing that is told, until the end; what is logged meanwhile stands above them."""
    if not shown or not is_drawn():
        yield lambda what, done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Results go where they go without a bar, for they may be piped.
    # Without a thread that draws: a process with threads is not forked.
    with Progress(
        *columns,
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
    ) as bar:
        tasks: dict[str, TaskID] = {}
        drawn = 0.0

        def advance(what: str, done: int, of: int | None) -> None:
            nonlocal drawn
            if what not in tasks:
                tasks[what] = bar.add_task(f"{prefix}{what}", total=of)
            bar.update(tasks[what], completed=done, total=of)
            if done == of or time.monotonic() - drawn > DRAWN_EVERY:
                bar.refresh()
                drawn = time.monotonic()

        yield advance
