"""A table of plain text, the same on a terminal and in a pipe."""

from collections.abc import Collection, Iterator, Sequence

import click


def text_table(headings: Sequence[str], rows: Collection[Sequence[str]]) -> Iterator[str]:
    """The lines of a table; columns of numbers are aligned on the right, nothing is ever cut."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *shown, strict=True)]
    right = [bool(shown) and all(_is_number(row[number]) for row in shown) for number in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(cells, widths, right, strict=True)
        )
        return "  ".join(aligned).rstrip()

    yield click.style(line(headings), bold=True)
    yield from map(line, shown)


def printable(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _is_number(cell: str) -> bool:
    return not cell or cell.removeprefix("-").replace(".", "", 1).isdigit()
