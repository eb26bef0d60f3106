"""One file under several paths: what a person gives, and what a watch or an archive is configured to.

`/mnt/a/x` is `x` of `/srv/archive`, if `/mnt/a` or `/srv/archive` is a symlink to the other one.
"""

import errno
import os
from pathlib import Path

NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # of a path that leads to nothing, or in a circle


def real_path(path: Path) -> Path:
    """The path without symlinks, as far as they lead anywhere."""
    return Path(_real(str(path)))


def followed(path: str) -> str:
    """Where symlinks lead, as a path without them; raises `OSError` where the system does not follow them."""
    os.stat(path)  # knows when to stop; Python follows each by a call of itself
    return os.path.realpath(path, strict=True)


def absolute(path: str) -> str:
    """The path from the root without "..", before which symlinks are followed, as the system does."""
    path = os.path.join(os.getcwd(), path, "")
    before, up, after = path.rpartition("/../")
    if up:
        path = os.path.join(_real(before + up), after)
    return "/" + os.path.normpath(path).lstrip("/")


def relative_to(root: Path, path: str) -> str | None:
    """An absolute path relative to a directory, whichever way leads there; None if it lies elsewhere.

    "" is the directory itself. The last name may be that of a symlink in it.
    """
    if "\0" in path:
        return None
    directory, name = os.path.split(path)
    ways = (path, os.path.join(_real(directory), name), _real(path))
    for way in dict.fromkeys(ways):
        if Path(way).is_relative_to(root):
            return _below(way, str(root))
    for way in dict.fromkeys(ways):
        for above in (way, *map(str, Path(way).parents)):
            if _is_same(above, root):
                return _below(way, above)
    return None


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except RecursionError:  # through more symlinks than the system follows
        return os.path.abspath(path)


def _below(path: str, above: str) -> str:
    return path.removeprefix(above).removeprefix("/")


def _is_same(one: str, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
