"""The temporary names under which a batch writes, and what they tell of it once it is dead."""

import os
import re
from contextlib import suppress

# Beside a temporary name: what the final name held before, and what it is about to hold.
BEFORE, NEXT = ".before", ".next"
_TEMPORARY = re.compile(r"\.carbonation-([^/]+)-[0-9]+(?:\.before|\.next)?")


def temporary_name(batch_id: str, component_id: int) -> str:
    """The temporary name of a component's file in one batch; only that batch uses it."""
    return f".carbonation-{batch_id}-{component_id}"


def batch_of(name: str) -> str | None:
    """The batch whose temporary file bears that name; None: it is no such name."""
    found = _TEMPORARY.fullmatch(name)
    return found[1] if found else None


def is_there(directory: str, temporary: str) -> bool:
    """Whether something lies under a temporary name."""
    return os.path.lexists(os.path.join(directory, temporary))


def is_link_to(path: str, directory: str, temporary: str) -> bool:
    """Whether what lies under a temporary name is a link to that file."""
    try:
        return os.path.samestat(os.lstat(path), os.lstat(os.path.join(directory, temporary)))
    except OSError:
        return False


def published(directory: str, temporary: str, name: str) -> list[str]:
    """The paths under which a dead batch has published what still lies under its temporary name.

    `name` is the one that its file has in delivery.
    """
    try:
        number = os.lstat(os.path.join(directory, temporary)).st_ino
        with os.scandir(directory) as entries:
            return [one.path for one in entries if one.inode() == number and _is_version(one.name, name)]
    except OSError:
        return []


def _is_version(name: str, of: str) -> bool:
    numbers = re.finditer(r"\.v[0-9]+(?=\.|$)", name)
    return name == of or of in {name[: found.start()] + name[found.end() :] for found in numbers}


def put_back(directory: str, temporary: str, path: str) -> None:
    """Let a path hold again what it held before the temporary name was published there."""
    with suppress(OSError):
        os.rename(os.path.join(directory, temporary + BEFORE), path)


def clear(directory: str, temporary: str) -> None:
    """Remove a temporary file, if it is there, and what was kept beside it."""
    path = os.path.join(directory, temporary)
    if is_there(directory, temporary):
        for ending in (NEXT, BEFORE, ""):  # the one that is looked for goes last
            unlink(path + ending)


def unlink(path: str) -> None:
    """Remove a path; one that cannot be removed is left for whoever looks next."""
    with suppress(OSError):
        os.unlink(path)
