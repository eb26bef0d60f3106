"""Writes docs/configuration.md from the models.

Run: python -m tests.docs.configuration_page > docs/configuration.md
"""

import re
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from carbonation_core.config.loading import Config
from carbonation_core.config.secrets import KEYS, variable_of
from carbonation_core.config.toml import Section, is_array, section_in
from carbonation_core.config.values import DIR_MODES, FILE_MODES
from carbonation_core.logs.file import Retention, Rotation
from carbonation_core.rules.rule_sets import RuleSet
from carbonation_core.text import format_duration
from tests.docs.pages import table

PROSE = (Path(__file__).parent / "configuration_prose.md").read_text(encoding="utf-8")

TYPES: dict[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    timedelta: "duration",
    Rotation: "size or period",
    Retention: "period or count",
}
SPECIAL = {  # what a validator reads differently from what it gives
    "max_loss": ("share", '`"10%"`'),
    "file_mode": (", ".join(f"`0o{mode:o}`" for mode in FILE_MODES), "`0o640`"),
    "dir_mode": (", ".join(f"`0o{mode:o}`" for mode in DIR_MODES), "`0o750`"),
    "matches": ("regular expressions", "`[]`"),
    "not_matches": ("regular expressions", "`[]`"),
    "kwargs": ("table", "`{}`"),
    "tags": ("table", "`{}`"),
    "types": ("table", "`{}`"),
    "required": ("array of tables", "`[]`"),
    "wanted": ("array of tables", "`[]`"),
    "optional": ("array of tables", "`[]`"),
    "expected_extensions": ("array of text, or of alternatives", "`[]`"),
    "value": ("whole number or text", ""),
}


def kind(annotation: Any) -> str:
    """The type of a key in an operator's words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f'`"{choice}"`' for choice in parts)
    if origin is Annotated:
        return kind(parts[0])
    if origin in (Union, UnionType):
        return kind(next(part for part in parts if part is not type(None)))
    if origin is tuple:
        return "array of tables" if section_in(annotation) else f"array of {kind(parts[0])}"
    return TYPES[annotation]


def default(field: FieldInfo) -> str:
    """A key's default as it would be written."""
    value = field.default
    if field.is_required():
        return "required"
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, timedelta):
        return f'`"{format_duration(value)}"`'
    if isinstance(value, tuple):
        return "`[{}]`".format(", ".join(f'"{part}"' for part in value))
    return f"`{value}`" if isinstance(value, int | float) else f'`"{value}"`'


def sections(model: type[Section], prefix: str = "") -> list[str]:
    """A heading and a table of keys for each table below a model."""
    parts = []
    for name, field in model.model_fields.items():
        inner = section_in(field.annotation)
        if inner is None:
            continue
        path = f"{prefix}{name}"
        heading = f"[[{path}]]" if is_array(field.annotation) else f"[{path}]"
        parts.append(f"### `{heading}`\n\n{inner.__doc__}\n\n{keys(inner)}\n")
        parts += sections(inner, f"{path}.")
    return parts


def keys(model: type[Section]) -> str:
    """The table of a model's own keys."""
    rows = []
    for name, field in model.model_fields.items():
        if section_in(field.annotation) and name != "field":
            continue
        type_, value = SPECIAL.get(name) or (kind(field.annotation), default(field))
        rows.append((f"`{name}`", type_, value, field.description or ""))
    return table(("key", "type", "default", "meaning"), rows)


def examples() -> tuple[str, str]:
    """The config.toml and the rules.toml that the page begins with."""
    config, rules, *_ = re.findall(r"```toml\n(.*?)```", PROSE, re.DOTALL)
    return config, rules


def checks_example() -> str:
    """The rules.toml in the part about checks of content."""
    return re.findall(r"```toml\n(.*?)```", PROSE, re.DOTALL)[2]  # type: ignore[no-any-return]


def page() -> str:
    """The whole page."""
    rule_set = f"### `[<set>]`\n\n{RuleSet.__doc__}\n\n{keys(RuleSet)}\n"
    variables = [
        f"| `{variable_of(section, key)}` | `{key}` of `[{section}]`, unless config.toml gives it |"
        for section, names in KEYS.items()
        for key in names
    ]
    generated = {
        "config.toml": "\n".join(sections(Config)).rstrip(),
        "rules.toml": "\n".join([rule_set, *sections(RuleSet, "<set>.")]).rstrip(),
        "variables": "\n".join(variables),
    }
    return re.sub(r"<!-- (\S+) -->", lambda mark: generated[mark[1]], PROSE)


if __name__ == "__main__":
    print(page(), end="")
