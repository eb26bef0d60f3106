"""Names, times and spans of time as sentences write them."""

import difflib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])", re.ASCII)
LONGEST = timedelta(days=365)
LONGEST_QUOTE = 100  # characters


def parse_duration(value: object) -> timedelta:
    """`"90s"`, `"5m"`, `"1.5h"`, `"7d"`: more than 0, at most 365 days."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('should be a duration such as "30s", "5m", "2h" or "7d"')
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > LONGEST.total_seconds() or not (duration := timedelta(seconds=seconds)):
        raise ValueError("should be more than 0 and at most 365 days")
    return duration


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back: `"2h"`, `"90s"`."""
    seconds, rest = divmod(duration, timedelta(seconds=1))
    if rest:
        return f"{seconds}.{rest.microseconds:06d}".rstrip("0") + "s"
    size, unit = next((size, unit) for unit, size in _UNITS.items() if seconds % size == 0)
    return f"{seconds // size}{unit}"


def listing(names: Iterable[str]) -> str:
    """Names for the end of a message that says what there is."""
    return ", ".join(f'"{name}"' for name in sorted(names)) or "none"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at what was probably meant, or what there is at all."""
    choices = list(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else f"known: {listing(choices)}"


def quoted(value: object) -> str:
    """What a program handed over, as a message repeats it: cut when it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return f"a very large {type(value).__name__}"
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 1]}…"


def shown(at: datetime) -> str:
    """A time as people read it, with its zone, which is always the same."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def ago(age: timedelta) -> str:
    """A span of time in whole units, the largest of which there are two."""
    seconds = int(age.total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
