"""A table of plain text: as wide as it is in a pipe, and as wide as the terminal on one."""

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import click

from carbonation_core.text import printable

_PORTION = 1000  # rows
_LEAST = 24  # characters of a column of sentences that is broken into lines


def terminal_width() -> int | None:
    """How many characters a line of standard output holds; None where that is no terminal."""
    return os.get_terminal_size(1).columns if sys.stdout.isatty() else None


def wrapped(text: str, width: int | None, indent: int = 0) -> list[str]:
    """`text`, indented, in lines of that width; a word is never cut."""
    blank = " " * indent
    if width is None:
        return [blank + text]
    return textwrap.wrap(
        text,
        width,
        initial_indent=blank,
        subsequent_indent=blank,
        break_long_words=False,
        break_on_hyphens=False,
    )


def text_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    width: int | None = None,
    spare: Sequence[str] = (),
) -> Iterator[str]:
    """The lines of a table; columns of numbers are aligned on the right, no word is ever cut.

    Where there is a `width`, `spare` columns are left out one by one until the
    table fits, and the sentences of the last column are broken into lines. Only
    a portion of the rows is held at a time: a column gets wider when a later
    portion needs it, and is a column of numbers by the first.
    """
    shown = ([printable(cell) for cell in row] for row in rows)
    portion = list(islice(shown, _PORTION))
    widths = _widths([len(heading) for heading in headings], portion)
    right = [bool(portion)] * len(headings)
    if portion:
        right = [all(map(_is_number, column)) for column in zip(*portion, strict=True)]
    chosen = _fitting(headings, widths, width, spare)

    def lines(cells: Sequence[str]) -> Iterator[str]:
        *before, last = chosen
        head = "".join(
            f"{cells[n].rjust(widths[n]) if right[n] else cells[n].ljust(widths[n])}  " for n in before
        )
        room = width - len(head) if width else 0
        if room < _LEAST or len(cells[last]) <= room:
            yield (head + (cells[last].rjust(widths[last]) if right[last] else cells[last])).rstrip()
            return
        for number, part in enumerate(wrapped(cells[last], room)):
            yield (head if number == 0 else " " * len(head)) + part

    is_first = True
    while portion or is_first:
        widths = _widths(widths, portion)
        if is_first:
            yield from (click.style(line, bold=True) for line in lines(headings))
        for row in portion:
            yield from lines(row)
        is_first, portion = False, list(islice(shown, _PORTION))


def _widths(widths: Sequence[int], rows: Sequence[Sequence[str]]) -> list[int]:
    columns = zip(*rows, strict=True) if rows else [()] * len(widths)
    return [max([width, *map(len, column)]) for width, column in zip(widths, columns, strict=True)]


def _fitting(
    headings: Sequence[str], widths: Sequence[int], width: int | None, spare: Sequence[str]
) -> list[int]:
    """Which columns are shown."""
    chosen = list(range(len(headings)))
    for name in spare:
        if width is None or sum(widths[n] + 2 for n in chosen) - 2 <= width:
            break
        chosen.remove(headings.index(name))
    return chosen


def _is_number(cell: str) -> bool:
    return not cell or cell.removeprefix("-").replace(".", "", 1).isdigit()
