"""Owners and tags of what Dagster shows, checked by Dagster's rules when the file is read."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

# Dagster 1.13: is_valid_owner and normalize_tags(strict=True) of its definitions.
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
_TAG_PART = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_RESERVED = "dagster"


def _owner(value: str) -> str:
    if not _EMAIL.fullmatch(value) and not (value.startswith("team:") and len(value) > len("team:")):
        raise ValueError('should be an e-mail address or a team such as "team:archive"')
    return value


def _tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    for key, value in tags.items():
        namespace, slash, name = key.rpartition("/")
        if not _TAG_PART.fullmatch(name) or (slash and not _TAG_PART.fullmatch(namespace)):
            raise ValueError(
                f'"{key}" is no name of a tag: up to 63 letters, digits, "_", "-" and ".", '
                'perhaps after a namespace and "/"'
            )
        if namespace == _RESERVED:
            raise ValueError(f'"{key}" is in a namespace that Dagster keeps for itself')
        if value and not _TAG_PART.fullmatch(value):
            raise ValueError(
                f'"{value}" is no value of tag "{key}": up to 63 letters, digits, "_", "-" and "."'
            )
    return tags


Owner = Annotated[str, AfterValidator(_owner)]
Tags = Annotated[Mapping[str, str], AfterValidator(_tags)]
