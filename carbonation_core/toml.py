"""What config.toml and rules.toml share: strict frozen sections and readable faults."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from carbonation_core.errors import ConfigError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


class Section(BaseModel):
    """A table of either file: unknown keys are faults, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, data: object) -> object:
        if isinstance(data, Mapping):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in data:
                if key not in known:
                    raise ValueError(f'there is no key or table "{key}"; {nearest(key, known)}')
        return data


def parse_duration(value: object) -> timedelta:
    """`"90s"`, `"5m"`, `"1.5h"`, `"7d"`: more than 0, at most 365 days."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('should be a duration such as "30s", "5m", "2h" or "7d"')
    duration = timedelta(**{_UNITS[match[2]]: float(match[1])})
    if not timedelta(0) < duration <= timedelta(days=365):
        raise ValueError("should be more than 0 and at most 365 days")
    return duration


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back: `"2h"`, `"90s"`."""
    seconds = duration.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]


def read_toml(path: Path) -> str:
    """The text of a TOML file; raises `ConfigError` when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a directory, not a file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def parse_toml(text: str, file: str) -> dict[str, Any]:
    """The tables of a TOML text; raises `ConfigError` naming line and column."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}") from None


SectionT = TypeVar("SectionT", bound=Section)


def parse(model: type[SectionT], data: object, file: str, table: str = "") -> SectionT:
    """`data` as a `model`; raises `ConfigError` with a sentence per fault.

    `table` is the name of the table in `file` that `data` is, if it is not the
    whole file.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = error.errors()
        raise ConfigError(*(_sentence(fault, data, file, table) for fault in faults)) from None


def place(file: str | Path, table: str = "", key: str = "") -> str:
    """Where a fault lies, as every message about the two files begins."""
    return ": ".join(part for part in (str(file), table, f'key "{key}"' if key else "") if part)


def listing(names: Iterable[str]) -> str:
    """Names for the end of a message that says what there is."""
    return ", ".join(f'"{name}"' for name in sorted(names)) or "none"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at what was probably meant, or what there is at all."""
    choices = list(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else f"known: {listing(choices)}"


_PHRASES = {
    "string_type": "should be a string",
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "bool_type": "should be true or false",
    "list_type": "should be an array",
    "tuple_type": "should be an array",
    "dict_type": "should be a table",
    "model_type": "should be a table",
    "literal_error": "should be {expected}",
    "greater_than": "should be more than {gt}",
    "greater_than_equal": "should be at least {ge}",
    "less_than_equal": "should be at most {le}",
}


def _sentence(fault: Any, data: object, file: str, table: str) -> str:
    heading, key, value = _where(data, fault["loc"], table)
    if fault["type"] == "missing":
        return f"{place(file, heading, key)}: is required"
    phrase = _PHRASES.get(fault["type"])
    if phrase is None:
        return f"{place(file, heading, key)}: {fault['msg'].removeprefix('Value error, ')}" + (
            "" if isinstance(value, Mapping) else _got(value)
        )
    return f"{place(file, heading, key)}: {phrase.format(**fault.get('ctx', {}))}{_got(value)}"


def _got(value: object) -> str:
    text = json.dumps(value, default=str)
    return f", not {text if len(text) <= 80 else text[:77] + '...'}"


def _where(data: object, location: Sequence[int | str], table: str) -> tuple[str, str, object]:
    """Heading and key that lead to a fault, in TOML's words, and what stands there."""
    name, label, key = table, "", ""
    here = data
    for step in location:
        if isinstance(here, Mapping) and isinstance(step, str):
            here = here.get(step)
            if isinstance(here, Mapping) or _is_array_of_tables(here):
                name = f"{name}.{step}" if name else step
            else:
                key = step
        elif isinstance(here, list) and isinstance(step, int):
            here = here[step]
            if isinstance(here, Mapping):
                label = f'"{here["name"]}"' if "name" in here else f"number {step + 1}"
            else:
                key = f"{key}[{step}]"
    if not name:
        return "", key, here
    return (f"[[{name}]] {label}" if label else f"[{name}]"), key, here


def _is_array_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
