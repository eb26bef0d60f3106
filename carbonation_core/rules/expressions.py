"""Regular expressions of users, none of which can hold the process."""

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from carbonation_core.errors import Unroutable

MOST_REPEATED = 100_000  # times in all; each is written out when an expression is compiled
LONGEST = 1.0  # seconds of processor time for one text; what is no trap takes milliseconds


def compiled(pattern: str) -> Any:
    """The expression as what searches within a time has it, with the methods of one of `re`."""
    import regex  # type: ignore[import-untyped]  # it brings no types, and is slow to import

    return regex.compile(pattern, regex.VERSION0)


@dataclass(frozen=True)
class Expression:
    """An expression in the syntax of Python's `re`; `ValueError` says what is wrong with it."""

    pattern: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)  # whose syntax it is, less than that of what searches
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f'"{self.pattern}" is not a valid regular expression: {error}') from None
        # Of groups beside each other too much is reckoned, as if one held the other.
        groups = [int(times) for times in re.findall(r"\)\{([0-9]+)", self.pattern)]
        others = [int(times) for times in re.findall(r"[^)]\{([0-9]+)", self.pattern)]
        if math.prod(groups) * max(others, default=1) > MOST_REPEATED:
            raise ValueError(f'"{self.pattern}" repeats more than {MOST_REPEATED:,} times in all')

    @cached_property
    def _compiled(self) -> Any:
        return compiled(self.pattern)

    def is_found_in(self, text: str) -> bool:
        """Whether it matches anywhere in the text.

        Others work meanwhile, as `re` would not let them. Raises `Unroutable` for
        a text on which it tries more ways than there is time for.
        """
        try:
            return self._compiled.search(text, timeout=LONGEST, concurrent=True) is not None
        except TimeoutError:
            raise Unroutable(
                f'to look for "{self.pattern}" in "{text[:40]}{"…" if text[40:] else ""}" takes longer than '
                f"{LONGEST:g} s; repetitions inside of repetitions make it so"
            ) from None
