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
    """How many characters a line of standard output holds; None where no terminal says so."""
    return (os.get_terminal_size(1).columns or None) if sys.stdout.isatty() else None


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
    beneath: int = 1,
) -> Iterator[str]:
    """The lines of a table; columns of numbers are aligned on the right, no word is ever cut.

    Where there is a `width`, `spare` columns are left out one by one until the
    table fits. If it never does, the sentences of the last column are broken into
    lines; where there is no room for that, the last `beneath` columns stand in
    lines of their own. Only a portion of the rows is held at a time: a column gets
    wider when a later portion needs it, and is a column of numbers by the first.
    """
    shown = ([printable(cell) for cell in row] for row in rows)
    portion = list(islice(shown, _PORTION))
    widths = _widths([len(heading) for heading in headings], portion)
    right = [bool(portion)] * len(headings)
    if portion:
        right = [all(map(_is_number, column)) for column in zip(*portion, strict=True)]
    chosen = _fitting(headings, widths, width, spare, beneath)

    def line(cells: Sequence[str], of: Sequence[int]) -> str:
        aligned = (cells[n].rjust(widths[n]) if right[n] else cells[n].ljust(widths[n]) for n in of)
        return "  ".join(aligned).rstrip()

    def lines(cells: Sequence[str], *, are_headings: bool = False) -> Iterator[str]:
        before, last = chosen[:-1], chosen[-1]
        if width is None or _together(widths, chosen) <= width:
            yield line(cells, chosen)
        elif beneath == 1 and (room := width - _together(widths, before) - 2) >= _LEAST:
            first, *others = wrapped(cells[last], room) or [""]
            yield line([*cells[:last], first, *cells[last + 1 :]], chosen)
            yield from (" " * (width - room) + other for other in others)
        else:
            yield line(cells, chosen[:-beneath])
            for n in () if are_headings else chosen[-beneath:]:
                yield from wrapped(cells[n], width, indent=4) if cells[n] else ()

    is_first = True
    while portion or is_first:
        widths = _widths(widths, portion)
        if is_first:
            yield from (click.style(line, bold=True) for line in lines(headings, are_headings=True))
        for row in portion:
            yield from lines(row)
        is_first, portion = False, list(islice(shown, _PORTION))


def _widths(widths: Sequence[int], rows: Sequence[Sequence[str]]) -> list[int]:
    columns = zip(*rows, strict=True) if rows else [()] * len(widths)
    return [max([width, *map(len, column)]) for width, column in zip(widths, columns, strict=True)]


def _together(widths: Sequence[int], chosen: Sequence[int]) -> int:
    return sum(widths[n] + 2 for n in chosen) - 2


def _fitting(
    headings: Sequence[str], widths: Sequence[int], width: int | None, spare: Sequence[str], beneath: int
) -> list[int]:
    """Which columns are shown; of several that may stand beneath, it is the others that have to fit."""
    chosen = list(range(len(headings)))
    for name in spare:
        beside = chosen[:-beneath] if beneath > 1 else chosen
        if width is None or _together(widths, beside) <= width:
            break
        chosen.remove(headings.index(name))
    return chosen


def _is_number(cell: str) -> bool:
    return not cell or cell.removeprefix("-").replace(".", "", 1).isdigit()
