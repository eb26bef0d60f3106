"""What config.toml and rules.toml share: strict frozen sections and readable faults."""

import json
import os
import tomllib
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, field_validator
from pydantic.fields import FieldInfo

from carbonation_core.errors import ConfigError
from carbonation_core.names import path_fault
from carbonation_core.text import format_duration, nearest, parse_duration

LARGEST = 1 << 20  # bytes of a file that people write
LONGEST_TEXT = 255  # characters; what a column, a file system or Dagster takes of a name or label
LONGEST_VALUE = 10_000  # characters; of a secret, which may be a signed document, or an argument


class Section(BaseModel):
    """A table of either file: unknown keys are faults, texts have bounds, values never change.

    A field with `repr=False` holds a secret, which no message and no log repeats.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_max_length=LONGEST_TEXT)

    @field_validator("*", mode="before")
    @classmethod
    def _ends_nowhere_else(cls, value: object) -> object:
        """A NUL ends a text for the operating system, and no database server takes one."""
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "\0" in text:
                raise ValueError("should have no NUL character in it")
        return value

    @classmethod
    def secret_keys(cls) -> Collection[str]:
        """The keys whose values nobody is to read."""
        return [key for key, field in cls.model_fields.items() if not field.repr]


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]


def _path_of(kind: str) -> BeforeValidator:
    def check(value: object) -> Path:
        if isinstance(value, Path):
            return value
        if not isinstance(value, str) or not value:
            raise ValueError(f"should be the path of a {kind}")
        if fault := path_fault(value):
            raise ValueError(fault)
        return Path(at_home(value))

    return BeforeValidator(check)


def at_home(path: str) -> str:
    """`path` with a leading `~` or `~user` replaced; raises `ValueError` when there is no such home."""
    found = os.path.expanduser(path)  # noqa: PTH111  # Path.expanduser would drop a trailing slash
    if path.startswith("~") and found == path:
        raise ValueError(f'there is no home directory "{path.partition("/")[0]}"')
    return found


DirectoryPath = Annotated[Path, _path_of("directory")]
FilePath = Annotated[Path, _path_of("file")]


def read_toml(path: Path) -> str:
    """The text of a TOML file; raises `ConfigError` when it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ConfigError(
                f"{path}: has more than {LARGEST >> 20} MiB, too much for a file that people write"
            )
        before, nul, _ = content.partition(b"\0")
        if nul:
            raise ConfigError(f"{path}: has a NUL character in line {before.count(10) + 1}")
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a directory, not a file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text, see byte {error.start + 1}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def parse_toml(text: str, file: str) -> dict[str, Any]:
    """The tables of a TOML text; raises `ConfigError` naming line and column."""
    try:
        tables = tomllib.loads(text)
        json.dumps(tables, default=str)  # which says what dotted keys hide, that it is too deep to be told
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}") from None
    return tables


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
        raise ConfigError(*(_sentence(fault, model, data, file, table) for fault in faults)) from None


def place(file: str | Path, table: str = "", key: str = "") -> str:
    """Where a fault lies, as every message about the two files begins."""
    return ": ".join(part for part in (str(file), table, f'key "{key}"' if key else "") if part)


def section_in(annotation: object) -> type[Section] | None:
    """The section that a field of that type holds, be it once, perhaps, or many times."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_in(part))), None)


def is_array(annotation: object) -> bool:
    """Whether a field of that type is an array in TOML."""
    return get_origin(annotation) is tuple


_PHRASES = {
    "string_type": "should be a string",
    "string_too_short": "should not be empty",
    "string_too_long": "should have at most {max_length} characters",
    "string_unicode": "should be UTF-8 text",
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "finite_number": "should be a finite number",
    "bool_type": "should be true or false",
    "mapping_type": "should be a table",
    "dict_type": "should be a table",
    "literal_error": "should be {expected}",
    "greater_than": "should be more than {gt}",
    "greater_than_equal": "should be at least {ge}",
    "less_than_equal": "should be at most {le}",
}


def _sentence(fault: Any, model: type[Section], data: object, file: str, table: str) -> str:
    at = _where(model, data, fault["loc"], table)
    where = f"{place(file, at.heading, at.key)}{at.number}"
    value = fault["input"]
    got = "" if at.is_secret else _got(value)
    if fault["type"] == "extra_forbidden":
        where = place(file, at.heading)
        kind = "key" if at.heading and not _is_table(value) else "key or table"
        return f'{where}: there is no {kind} "{at.key}"; {nearest(at.key, at.section.model_fields)}'
    if fault["type"] == "missing":
        return f"{where}: is required ({at.field.description if at.field else ''})"
    if fault["type"] == "tuple_type":
        return f"{where}: {_array_wanted(at, value)}"
    if fault["type"] == "model_type":
        if isinstance(value, list) and (at.field or not fault["loc"]):
            return f"{where}: there is only one, so the heading should be {at.heading}, not [{at.heading}]"
        return f"{where}: should be a table{got}"
    if fault["type"] == "value_error":
        # A sentence of ours that begins otherwise says itself what stands there.
        message = str(fault["ctx"]["error"])
        return f"{where}: {message}" + (got if message.startswith("should") else "")
    phrase = _PHRASES.get(fault["type"], fault["msg"]).format(**_in_words(fault.get("ctx", {})))
    return f"{where}: {phrase}" + ("" if value == "" else got)


def _in_words(context: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(limit).removesuffix(".0").replace("'", '"') for name, limit in context.items()}


def _array_wanted(at: "_Place", value: object) -> str:
    if at.key:
        example = f", such as [{json.dumps(value, ensure_ascii=False)}]" if isinstance(value, str) else ""
        return f"should be an array{example}{'' if example else _got(value)}"
    if not at.heading.endswith("]]"):
        return f"should be an array of tables, such as [{{ … }}]{_got(value)}"
    if isinstance(value, Mapping):
        return f"there can be several, so the heading should be {at.heading}, not {at.heading[1:-1]}"
    return f"should be tables under the heading {at.heading}{_got(value)}"


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(map(_is_table, value)))


def _got(value: object) -> str:
    return f", not {shown(value)}"


def shown(value: object) -> str:
    """A value of a TOML file as it is written there, cut when it is long."""
    text = repr(value) if isinstance(value, float) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


class _Place(NamedTuple):
    """A fault's location in TOML's words, and the section and field it leads to."""

    heading: str
    key: str
    number: str
    section: type[Section]
    field: FieldInfo | None

    @property
    def is_secret(self) -> bool:
        """Whether a secret stands there, or a table that may hold one."""
        secrets = self.section.secret_keys()
        return self.key in secrets if self.key else bool(secrets)


def _where(model: type[Section], data: object, location: Sequence[int | str], table: str) -> _Place:
    here, section, field = data, model, None
    name, heading, key, number, is_labelled = table, f"[{table}]" if table else "", "", "", False
    for depth, step in enumerate(location, 1):
        here = _inside(here, step)
        if isinstance(step, int):
            named = isinstance(here, Mapping) and "name" in here
            label = shown(here["name"]) if named else f"number {step + 1}"
            if key:
                number = f" number {step + 1}"
            elif field is not None:
                heading, is_labelled, field = f"{heading} {label}", True, None
            continue
        field = section.model_fields.get(step)
        inner = section_in(field.annotation) if field else None
        if inner is None:
            key = step
        elif depth < len(location) and isinstance(here, str):
            section, field = inner, None  # an older spelling, whose keys stand one level higher
        else:
            name = f"{name}.{step}" if name else step
            plain = f"[[{name}]]" if field and is_array(field.annotation) else f"[{name}]"
            heading, section = f"{heading}: {step}" if is_labelled else plain, inner
    return _Place(heading, key, number, section, field)


def _inside(value: Any, step: int | str) -> Any:
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int):
        return value[step]
    return value
