"""A row of the table, and the table as people and programs read it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One figure.

    `floor` is what the same work takes without Carbonation, or what it takes at
    the smallest size; `floor_is` says which. `target` is the most that the
    figure may be, or with `at_least` the least; None: none was set. `others` is
    how many cores processes that are not ours used meanwhile.
    """

    work: str
    figure: float
    unit: str
    floor: float | None = None
    floor_is: str = ""
    target: float | None = None
    at_least: bool = False
    others: float = 0.0

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.figure >= self.target if self.at_least else self.figure <= self.target


def number(value: float) -> str:
    """Three digits that count, as people write them."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def line(row: Row) -> str:
    """A row of the Markdown table."""
    floor = f"{number(row.floor)} ({row.floor_is})" if row.floor is not None else ""
    sign = "≥" if row.at_least else "≤"
    target = f"{sign} {number(row.target)}" if row.target is not None else ""
    holds = {None: "", True: "yes", False: "**no**"}[row.holds]
    cells = (row.work, f"{number(row.figure)} {row.unit}", floor, target, holds, f"{row.others:.1f}")
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| work | figure | floor, in the same run | target | holds | cores used by others |\n"
    "|---|--:|---|--:|---|--:|"
)


def markdown(rows: Sequence[Row], machine: str) -> str:
    """The whole table, with what it was measured on."""
    return "\n".join((machine, "", HEAD, *map(line, rows), ""))


def as_json(rows: Sequence[Row], machine: str) -> str:
    """The same for programs."""
    return json.dumps(
        {"machine": machine, "rows": [asdict(row) | {"holds": row.holds} for row in rows]}, indent=1
    )
