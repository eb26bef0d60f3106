"""A table of plain text, the same on a terminal and in a pipe."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import click

from carbonation_core.text import printable

_PORTION = 1000  # rows


def text_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table; columns of numbers are aligned on the right, nothing is ever cut.

    Only a portion of the rows is held at a time: a column gets wider when a
    later portion needs it, and is a column of numbers by the first.
    """
    shown = ([printable(cell) for cell in row] for row in rows)
    widths = [len(heading) for heading in headings]
    right = [False] * len(headings)

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(cells, widths, right, strict=True)
        )
        return "  ".join(aligned).rstrip()

    portion = list(islice(shown, _PORTION))
    if portion:
        right = [all(map(_is_number, column)) for column in zip(*portion, strict=True)]
    is_first = True
    while portion or is_first:
        widths = [max([width, *map(len, column)]) for width, *column in zip(widths, *portion, strict=True)]
        if is_first:
            yield click.style(line(headings), bold=True)
        yield from map(line, portion)
        is_first, portion = False, list(islice(shown, _PORTION))


def _is_number(cell: str) -> bool:
    return not cell or cell.removeprefix("-").replace(".", "", 1).isdigit()
