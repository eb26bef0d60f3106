"""Destinations: format strings over the metadata that never leave their base."""

import os
import re
import string
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from types import MappingProxyType

from carbonation_core.config.toml import at_home
from carbonation_core.errors import Unroutable
from carbonation_core.names import NAME_MAX, PATH_MAX, path_fault, to_text
from carbonation_core.text import nearest

# Width and precision of a format that is not one of times.
_SIZES = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?(\d*)[,_]?(?:\.(\d+))?[A-Za-z%]?", re.ASCII)
# What stands between two slashes, those in a format left alone.
_PART = re.compile(r"(?:\{\{|\{[^{}]*\}|[^{/])+")
# What strftime(3) of Linux knows, with its flags and widths; the rest it leaves as it is.
_DIRECTIVE = re.compile(r"%[-_0^#]*\d*[EO]?(.?)", re.DOTALL)
_DIRECTIVES = frozenset("aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZf%")
FACTS = ("watch_name", "file_type", "group_key")  # what a destination may name besides the metadata
_LITERAL = re.compile(r"(?:[^{]|\{\{)*")


def check_template(text: str) -> str:
    """The text itself if it is a usable template; raises `ValueError`."""
    if not text or "\0" in text:
        raise ValueError('should be a directory, such as "{category}/{start:%Y/%m/%d}"')
    at_home(text)
    try:
        fields = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(
            f'"{text}" is not a valid template: {error}; a brace that is meant as such is written twice'
        ) from None
    for _, name, form, conversion in fields:
        if name is None:
            continue
        if not name.isidentifier():
            raise ValueError(
                f'placeholder "{{{name}}}" should be the plain name of a metadata key; '
                'parts of a date go into its format, such as "{start:%Y/%m/%d}"'
            )
        if (sizes := _SIZES.fullmatch(form or "")) and any(
            int(size or 0) > NAME_MAX for size in sizes.groups()
        ):
            raise ValueError(
                f'placeholder "{{{name}:{form}}}" is wider than any name may be, {NAME_MAX} characters'
            )
        if "{" in (form or ""):
            raise ValueError(f'placeholder "{{{name}:{form}}}" has another placeholder in its format')
        if conversion not in (None, "r", "s", "a"):
            raise ValueError(
                f'placeholder "{{{name}!{conversion}}}" has an unknown conversion; known: r, s, a'
            )
    if fault := path_fault(constant_directory(text)):
        raise ValueError(fault)
    if ".." in _split(text)[1].split("/"):
        raise ValueError(f'"{text}" has ".." after a placeholder, where it is never allowed')
    return text


def placeholders(template: str) -> list[str]:
    """The keys of the metadata that it names."""
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def misfits(
    template: str, columns: Mapping[str, object], fields: Mapping[str, object] = MappingProxyType({})
) -> Iterator[str]:
    """A sentence for each placeholder that no metadata can fill.

    `columns` are those of the plugin, `fields` those of keys in rules.toml, each
    with a value that it may have, or None if any.
    """
    known = {**dict.fromkeys(FACTS, "text"), **fields, **columns}
    for _, name, form, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        placeholder = f"{{{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}}}"
        if name not in known:
            nothing = (
                "no column of the plugin, and no field of a key" if fields else "no column of the plugin"
            )
            yield f'placeholder "{placeholder}" names {nothing}; {nearest(name, known)}'
        elif known[name] is not None and (fault := _misfit(known[name], form or "", conversion)):
            yield f'placeholder "{placeholder}" {fault}'


def _misfit(value: object, form: str, conversion: str | None) -> str | None:
    value = string.Formatter().convert_field(value, conversion)
    try:
        format(value, form)
    except (ValueError, TypeError) as error:
        return f"has a format that its column does not take: {error}"
    if not form or not isinstance(value, date | time):
        return None
    directives = list(_DIRECTIVE.finditer(form))
    for directive in directives:
        if directive[1] not in _DIRECTIVES:
            return f'has an unknown directive, "{directive[0]}"'
    return None if directives else 'is the same for every time; parts of it are given as in "%Y/%m/%d"'


def constant_directory(template: str) -> str:
    """The directories before the first placeholder: `/a/b` of `/a/b/x{y}`."""
    return _split(template)[0].replace("{{", "{").replace("}}", "}") or "."


def under(template: str, root: Path) -> str:
    """The template with an absolute, normalised beginning."""
    template = at_home(template)
    if not template.startswith("/"):
        template = f"{str(root).replace('{', '{{').replace('}', '}}')}/{template}"
    constant, rest = _split(template)
    # POSIX lets two leading slashes mean something of their own; here they are one.
    constant = "/" + os.path.normpath(constant).lstrip("/")
    return f"{constant.rstrip('/')}/{rest}" if rest else constant


def _split(template: str) -> tuple[str, str]:
    """The directories before the first placeholder, and the rest, both still templates."""
    literal = _LITERAL.match(template)
    assert literal is not None
    if literal.end() == len(template):
        return template, ""
    slash = template.rfind("/", 0, literal.end())
    return (template[:slash] or "/", template[slash + 1 :]) if slash >= 0 else ("", template)


def fill(template: str, values: Mapping[str, object], base: Path) -> Path:
    """The directory that `values` lead to, inside `base`.

    Raises `Unroutable` when a key is missing, a value does not take its format,
    or the result is no directory that could lie inside `base`.
    """
    for name in placeholders(template):
        if values.get(name, "") is None:
            raise Unroutable(f'destination "{template}" names "{name}", which has no value')
    templates = [part for part in _PART.findall(template) if part != "."]
    try:
        parts = [string.Formatter().vformat(part, (), values) for part in templates]
    except KeyError as error:
        known = ", ".join(sorted(values)) or "none"
        raise Unroutable(
            f'destination "{template}" names "{error.args[0]}", which the metadata lack; keys there: {known}'
        ) from None
    except (ValueError, TypeError, OverflowError) as error:
        raise Unroutable(f'destination "{template}" cannot be filled: {error}') from None
    text = "/" + "/".join(parts)
    _require_path(text)
    for part, filled in zip(templates, parts, strict=True):
        if fault := _fault_of_part(part, filled):
            raise Unroutable(f'destination "{template}": "{part}" {fault}')
    directory = Path(os.path.normpath(text))
    if not directory.is_relative_to(base):
        raise Unroutable(f'destination "{to_text(text)}" lies outside base_path "{to_text(str(base))}"')
    return directory


def _require_path(text: str) -> None:
    """Raise `Unroutable` unless that can be the path of a directory, and one that leads where it says."""
    if "\0" in text:
        raise Unroutable("destination has a NUL character in it")
    try:
        names = [os.fsencode(name) for name in text.split("/")]
    except UnicodeEncodeError:
        raise Unroutable(f"destination {text!a} has a character that no file name can hold") from None
    if too_long := [name for name in names if len(name) > NAME_MAX]:
        raise Unroutable(
            f'destination has a name of more than {NAME_MAX} bytes: "{to_text(too_long[0])[:60]}…"'
        )
    if len(os.fsencode(text)) > PATH_MAX:
        raise Unroutable(f"destination has more than {PATH_MAX} bytes")
    for name in (".", ".."):
        if name in text.split("/"):
            raise Unroutable(f'destination "{to_text(text)}" has "{name}" in it')


def _fault_of_part(part: str, filled: str) -> str | None:
    """Why values leave out a part of the path, so that files would lie higher than their template says."""
    if "{" not in part.replace("{{", ""):
        return None
    if not filled.strip("/"):
        return "comes out as nothing"
    if filled.startswith("/"):
        return f'comes out as the absolute path "{to_text(filled)}"'
    return None
