"""Names, times and spans of time as sentences write them."""

import difflib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum
from uuid import UUID

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])", re.ASCII)
_SPAN = re.compile(
    r"(-)?P(?=.)(?:(\d{1,8})D)?(?:T(?=.)(?:(\d{1,8})H)?(?:(\d{1,8})M)?(?:(\d{1,8}(?:\.\d+)?)S)?)?", re.ASCII
)
LONGEST = timedelta(days=365)
LONGEST_AGE = timedelta(days=36_500)  # of what is asked for by its age; so far every database's times reach
LONGEST_QUOTE = 100  # characters


def parse_duration(value: object, *, longest: timedelta = LONGEST) -> timedelta:
    """`"90s"`, `"5m"`, `"1.5h"`, `"7d"`: more than 0, at most `longest`, in whole days."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('should be a duration such as "30s", "5m", "2h" or "7d"')
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > longest.total_seconds() or not (duration := timedelta(seconds=seconds)):
        raise ValueError(f"should be more than 0 and at most {longest.days} days")
    return duration


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back: `"2h"`, `"90s"`."""
    seconds, rest = divmod(duration, timedelta(seconds=1))
    if rest:
        return f"{seconds}.{rest.microseconds:06d}".rstrip("0") + "s"
    size, unit = next((size, unit) for unit, size in _UNITS.items() if seconds % size == 0)
    return f"{seconds // size}{unit}"


def counted(number: int, noun: str) -> str:
    """So many of something: `"1 group"`, `"0 groups"`, `"2 watches"`, `"3 copies"`."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("copy", "directory", "entry", "retry")):
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'es' if noun.endswith(('s', 'x', 'ch')) else 's'}"


def printable(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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


def written(value: object) -> object:
    """A value of metadata as texts and JSON have it: members of an Enum by name, spans in ISO 8601."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, timedelta):
        return _in_iso(value)
    return str(value) if isinstance(value, UUID) else value


def parse_span(value: object) -> timedelta:
    """What `written` makes of a timedelta, or a duration as in the configuration; raises `ValueError`."""
    match = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return parse_duration(value)
    sign, *amounts = match.groups()
    days, hours, minutes, seconds = (float(amount or 0) for amount in amounts)
    span = timedelta(days, seconds, hours=hours, minutes=minutes)
    return -span if sign else span


def _in_iso(span: timedelta) -> str:
    sign, span = ("-", -span) if span < timedelta(0) else ("", span)
    hours, rest = divmod(span.seconds, 3600)
    seconds = f"{rest % 60}.{span.microseconds:06d}".rstrip("0").rstrip(".")
    parts = ((str(hours), "H"), (str(rest // 60), "M"), (seconds, "S"))
    time = "".join(f"{amount}{unit}" for amount, unit in parts if amount != "0")
    days = f"{span.days}D" if span.days else ""
    return f"{sign}P{days}T{time}" if time else f"{sign}P{days or 'T0S'}"
