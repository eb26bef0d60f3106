"""Manifests: files that list the members of their group. Nothing here reads files."""

import csv
import posixpath
from collections.abc import Iterable, Iterator

from carbonation_core.names import to_text
from carbonation_core.rules import checksums
from carbonation_core.rules.completeness import Manifest
from carbonation_core.text import nearest

_MARK = b"\xef\xbb\xbf"  # of UTF-8, as tools of Windows write it


def members_listed(content: bytes, manifest: Manifest, path: str) -> tuple[str, ...]:
    """The members that a manifest with that content names, by their paths below the watch.

    `path` is its own. Raises `ValueError` that says why it cannot be understood.
    """
    content = content.removeprefix(_MARK)
    if manifest.format == "checksums":
        names: Iterable[str] = _of_checksums(content)
    elif manifest.format == "csv":
        names = _of_csv(content, manifest.column or "")
    else:
        lines = (line.strip() for line in content.splitlines())
        names = [to_text(line) for line in lines if line and line[:1] not in b"#;"]
    members = paths_of(names, path)
    if not members:
        raise ValueError("lists no file")
    return members


def paths_of(names: Iterable[str], manifest_path: str) -> tuple[str, ...]:
    """Names that a manifest gives, which are relative to its directory, as paths below the watch."""
    directory = posixpath.dirname(manifest_path)
    found = dict.fromkeys(posixpath.normpath(posixpath.join(directory, name)) for name in names)
    found.pop(manifest_path, None)
    if outside := next((one for one in found if one.startswith(("../", "/"))), None):
        raise ValueError(f'lists "{outside}", which lies outside of the watch')
    return tuple(found)


def _of_checksums(content: bytes) -> Iterable[str]:
    found = checksums.parse(content, None)
    if found.faults:
        raise ValueError(found.faults[0])
    return found.names


def _of_csv(content: bytes, column: str) -> Iterator[str]:
    lines = content.decode("utf-8", "surrogateescape").splitlines()
    header = lines[0] if lines else ""
    columns: list[str] = []
    for delimiter in ",;\t|":
        columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        if column in columns:
            at = columns.index(column)
            rows = csv.reader(lines[1:], delimiter=delimiter)
            yield from (to_text(row[at].strip()) for row in rows if len(row) > at and row[at].strip())
            return
    raise ValueError(f'has no column "{column}"; {nearest(column, header.replace(";", ",").split(","))}')
