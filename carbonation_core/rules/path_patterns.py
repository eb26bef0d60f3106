"""Names of files taken apart: `{satellite}_{channel}_{start:%Y%m%d%H%M}_{segment:d}.nat`.

path_pattern("{satellite}_{start:%Y%m%d}.nat", {}).fields_of("MSG4_20261127.nat")
"""

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache, partial
from typing import Any

from carbonation_core.config.templates import FACTS
from carbonation_core.rules.expressions import LONGEST, Expression, compiled
from carbonation_core.text import listing

Value = str | int | datetime  # of a field; times are naive, as the name has them

_DIRECTIVES = {  # of strptime, and the texts that it takes for them; those of no fixed length are left out
    "Y": "[0-9]{4}",
    "y": "[0-9]{2}",
    "m": "[0-9]{2}",
    "d": "[0-9]{2}",
    "j": "[0-9]{3}",
    "b": "[A-Za-z]{3}",
    "H": "[0-9]{2}",
    "M": "[0-9]{2}",
    "S": "[0-9]{2}",
    "f": "[0-9]{1,6}",
}
_DATES = ({"Y", "y"}, {"m", "b", "j"}, {"d", "j"})  # one directive of each makes a date
_SPEC = re.compile(r"(?:(?P<fill>.)?(?P<align>[<>^]))?(?P<zero>0)?(?P<width>[1-9][0-9]{0,2})?(?P<type>[ds])?")
MOST_OPEN = 2  # parts of no fixed length in a pattern that can be no trap
_NAMED = "(?P<"  # what an item has in it that is a regular expression


@dataclass(frozen=True)
class Field:
    """What a name holds at one place, by the format that is given for it."""

    name: str
    form: str = ""

    def __post_init__(self) -> None:
        if self.name in FACTS:
            raise ValueError(f'field "{self.name}" has the name of a fact of the service: {listing(FACTS)}')
        if self.is_time:
            for directive in re.findall(r"%(.?)", self.form):
                if directive not in _DIRECTIVES:
                    known = ", ".join(f"%{one}" for one in _DIRECTIVES)
                    raise ValueError(f'field "{self.name}" has "%{directive}" in its format; known: {known}')
        elif not _SPEC.fullmatch(self.form):
            raise ValueError(
                f'field "{self.name}" has the format "{self.form}"; it should be nothing or "s" for text, '
                '"d" for a whole number, each with a width such as "3d", or a time such as "%Y%m%d%H%M"'
            )

    @property
    def is_time(self) -> bool:
        """Whether its values are times."""
        return "%" in self.form

    @property
    def has_date(self) -> bool:
        """Whether its values are times of a day that is known."""
        found = set(re.findall(r"%(.)", self.form))
        return all(found & one for one in _DATES)

    @property
    def is_number(self) -> bool:
        """Whether its values are whole numbers."""
        return not self.is_time and self.form.endswith("d")

    @property
    def kind(self) -> str:
        """Its type, as a message names it."""
        return "a time" if self.is_time else "a whole number" if self.is_number else "text"

    @property
    def expression(self) -> str:
        """The regular expression of its texts."""
        if self.is_time:
            parts = re.split(r"%(.)", self.form)
            return "".join(_DIRECTIVES[part] if odd else re.escape(part) for part, odd in _alternating(parts))
        width = f"{{{self._width}}}" if self._width else ""
        if not self.is_number:
            return f"[^/]{width or '+?'}"
        return f"[0-9{re.escape(self._fill)}]{width or '+'}"

    @cached_property
    def value(self) -> Callable[[str], Value | None]:
        """What reads a text of it: the value, or None if that is of another type."""
        if self.is_time:
            return partial(_time, form=self.form)
        read: Callable[[str], Value | None] = _number if self.is_number else _text
        fill = self._fill
        return (lambda text: read(text.strip(fill))) if fill else read

    def spelled(self, value: Value) -> str:
        """A value as a name has it, but for what only fills it up."""
        if isinstance(value, datetime):
            return value.strftime(self.form)
        return f"{value:0{self._width}d}" if isinstance(value, int) and self._width else str(value)

    @property
    def _fill(self) -> str:
        found = _SPEC.fullmatch(self.form)
        return (found and found["fill"]) or ""

    @property
    def _width(self) -> str:
        found = _SPEC.fullmatch(self.form)
        return (found and found["width"]) or ""


def _text(text: str) -> str | None:
    return text or None


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() else None


@lru_cache(maxsize=4096)  # the files of a group have the same time
def _time(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007  # a name says no zone; the rule set does
    except ValueError:
        return None


def _alternating(parts: list[str]) -> list[tuple[str, bool]]:
    return [(part, bool(number % 2)) for number, part in enumerate(parts)]


@dataclass(frozen=True)
class PathPattern:
    """A pattern for the path of a file below its watch.

    `more` are further places of a field, by group; `parts` are the texts and
    fields of it, each as a regular expression and as it is written.
    """

    text: str
    fields: Mapping[str, Field]
    more: Mapping[str, Field]
    compiled: Any
    is_slow: bool  # a path may be a trap for it
    parts: tuple[tuple[str, str], ...] = ()

    def fields_of(self, path: str) -> dict[str, Value] | None:
        """The fields of a path; None if it does not fit."""
        if self.is_slow:
            try:
                found = self.compiled.fullmatch(path, timeout=LONGEST, concurrent=True)
            except TimeoutError:
                return None
        else:
            found = self.compiled.fullmatch(path)
        if found is None:
            return None
        texts = found.groupdict()
        values: dict[str, Value] = {}
        for name, field in self.fields.items():
            text = texts[name]
            if text is None:  # of a part of a regular expression that was not needed
                continue
            value = field.value(text)
            if value is None:
                return None
            values[name] = value
        for group, field in self.more.items():
            value = values.get(field.name)
            if value is None or field.spelled(value) != texts[group]:
                return None
        return values

    def misfit(self, path: str) -> tuple[int, str]:
        """How many parts of it fit a path that it does not fit as a whole, and what does not."""
        expression = ""
        for number, (part, written) in enumerate([] if self.is_slow else self.parts):
            expression += part
            if re.match(expression, path) is None:
                return number, f'nothing fits "{written}" of "{self.text}"'
        found = None if self.is_slow else self.compiled.fullmatch(path)
        for name, text in (found.groupdict() if found else {}).items():
            if name in self.fields and self.fields[name].value(text) is None:
                return len(self.parts), f'"{text}" is no value of "{name}" in "{self.text}"'
        return len(self.parts), f'"{self.text}" does not fit all of it'


def path_pattern(text: str, types: Mapping[str, str]) -> PathPattern:
    """The pattern that a text says; `types` are the formats of a regular expression's fields.

    Raises `ValueError` that says what is wrong with it.
    """
    if _NAMED in text:
        expression = Expression(text).pattern
        named = {name: Field(name, types.get(name, "")) for name in re.compile(expression).groupindex}
        return PathPattern(text, named, {}, compiled(expression), is_slow=True)
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(
            f'"{text}" is not a valid pattern: {error}; a brace as such is written twice'
        ) from None
    found: list[tuple[str, str]] = []
    fields: dict[str, Field] = {}
    more: dict[str, Field] = {}
    places = _main_places(parts, text)
    for number, (literal, name, form, _) in enumerate(parts):
        if literal:
            found.append((_literal(literal), literal))
        if name is None:
            continue
        field = Field(name, form or "")
        if fields.get(name) == field:
            expression = f"(?P={name})"
        elif places[name] == number:
            fields[name] = field
            expression = f"(?P<{name}>{field.expression})"
        else:
            more[f"{name}__{number}"] = field
            expression = f"(?P<{name}__{number}>{field.expression})"
        found.append((expression, f"{{{name}:{form}}}" if form else f"{{{name}}}"))
    expression = "".join(part for part, _ in found)
    # Each part of no fixed length multiplies the ways to take a name apart.
    is_slow = len(re.findall(r"\*\??", expression)) + expression.count("+?") > MOST_OPEN
    takes = compiled(expression) if is_slow else re.compile(expression)
    return PathPattern(text, fields, more, takes, is_slow, tuple(found))


def _main_places(parts: list[Any], text: str) -> dict[str, int]:
    """Where each field stands that is read; of a time that comes in pieces the one that says most."""
    found: dict[str, int] = {}
    for number, (_, name, form, conversion) in enumerate(parts):
        if name is None:
            continue
        if not name.isidentifier() or conversion:
            raise ValueError(
                f'"{text}" has the field "{{{name}}}", which should be a plain name, with a format such as '
                '"{segment:d}" or "{start:%Y%m%d%H%M}"; what is not kept is written "*"'
            )
        before = found.setdefault(name, number)
        if (form or "").count("%") > (parts[before][2] or "").count("%"):
            found[name] = number
    return found


def _literal(text: str) -> str:
    """Text as it stands, but for `*`, anything in one name, and `**`, anything at all."""
    parts = re.split(r"(\*\*|\*)", text)
    return "".join({"**": "(?s:.*)", "*": "[^/]*?"}.get(part) or re.escape(part) for part in parts)
