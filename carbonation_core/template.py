"""Destinations: format strings over the metadata that never leave their base."""

import os
import string
from collections.abc import Mapping
from pathlib import Path

from carbonation_core.errors import Unroutable

LONGEST_NAME = 255  # bytes; NAME_MAX of Linux file systems


def check_template(text: str) -> str:
    """The text itself if it is a usable template; raises `ValueError`."""
    if not text or "\0" in text:
        raise ValueError('should be a directory, such as "{category}/{start:%Y/%m/%d}"')
    try:
        fields = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"is not a valid template: {error}") from None
    for _, name, form, _ in fields:
        if name is not None and (not name.isidentifier() or "{" in (form or "")):
            raise ValueError(
                f'placeholder "{{{name}}}" should be the plain name of a metadata key; '
                'parts of a date go into its format, such as "{start:%Y/%m/%d}"'
            )
    return text


def constant_directory(template: str) -> str:
    """The directories before the first placeholder: `/a/b` of `/a/b/x{y}`."""
    constant = ""
    for literal, name, _, _ in string.Formatter().parse(template):
        constant += literal
        if name is not None:
            return constant.rpartition("/")[0] or ("/" if constant.startswith("/") else ".")
    return constant


def under(template: str, root: Path) -> str:
    """The template with an absolute beginning."""
    if template.startswith("/"):
        return template
    return f"{str(root).replace('{', '{{').replace('}', '}}')}/{template}"


def fill(template: str, values: Mapping[str, object], base: Path) -> Path:
    """The directory that `values` lead to, inside `base`.

    Raises `Unroutable` when a key is missing, a value does not take its format,
    or the result is no directory that could lie inside `base`.
    """
    for _, name, _, _ in string.Formatter().parse(template):
        if name is not None and values.get(name, "") is None:
            raise Unroutable(f'destination "{template}" names "{name}", which has no value')
    try:
        text = string.Formatter().vformat(template, (), values)
    except KeyError as error:
        known = ", ".join(sorted(values)) or "none"
        raise Unroutable(
            f'destination "{template}" names "{error.args[0]}", which the metadata lack; keys there: {known}'
        ) from None
    except (ValueError, TypeError) as error:
        raise Unroutable(f'destination "{template}" cannot be filled: {error}') from None
    if "\0" in text:
        raise Unroutable("destination has a NUL character in it")
    if ".." in text.split("/"):
        raise Unroutable(f'destination "{text}" has ".." in it')
    too_long = [part for part in text.split("/") if len(os.fsencode(part)) > LONGEST_NAME]
    if too_long:
        raise Unroutable(f'destination has a name of more than {LONGEST_NAME} bytes: "{too_long[0][:60]}…"')
    directory = Path(os.path.normpath(text))
    if not directory.is_relative_to(base):
        raise Unroutable(f'destination "{text}" lies outside base_path "{base}"')
    return directory
