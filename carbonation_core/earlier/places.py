"""Where files of carbonation 0.0.x lie, in the spelling of this release's configuration."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import Archive, Watch
from carbonation_core.db.earlier_tables import EarlierFile
from carbonation_core.disk.stamp import Stamp
from carbonation_core.disk.walk import look_at, own_stamp
from carbonation_core.names import to_path, to_text


@dataclass(frozen=True)
class Located:
    """A file and its places, spelled as text.

    `archive_path` is None if it never had one, and `archive` if that lies in no archive
    of config.toml. `there` is what lies in delivery now, `copy` what lies in the archive.
    """

    row: EarlierFile
    source_path: str
    archive: Archive | None
    archive_path: str | None
    there: Stamp | None = None
    copy: Stamp | None = None

    @property
    def is_as_archived(self) -> bool:
        """Whether what lies in delivery surely is what was archived, told without reading it."""
        one, other = self.there, self.copy
        return (
            one is not None and other is not None and (one.size, one.mtime_ns) == (other.size, other.mtime_ns)
        )


class Places:
    """Finds them. The earlier release kept paths without symlinks, this one as config.toml has them."""

    def __init__(self, config: Config) -> None:
        self._watches: Mapping[str, Watch] = {watch.name: watch for watch in config.watch}
        self._roots = {watch.name: _real_root(str(watch.path)) for watch in config.watch}
        # The innermost first, as archives may lie in each other.
        bases = [(root, archive) for archive in config.archive for root in _roots_of(archive)]
        self._bases = sorted(bases, key=lambda one: len(one[0]), reverse=True)

    def locate(self, row: EarlierFile, watch_name: str) -> Located:
        """Where a file of that watch lies; raises `ScanError` when nobody can tell."""
        archive, archive_path = self._archived(row.archive_path)
        source_path = to_text(row.source_path)
        watch = self._watches.get(watch_name)
        if row.watch_name is None and watch is not None and archive is not None and archive_path is not None:
            # It was found in the archive: as if it had been delivered, as adoption has it.
            below = archive_path.removeprefix(archive.root)
            source_path = watch.root + (below if watch.recursive else os.path.basename(below))
        elif watch is not None and source_path.startswith(self._roots[watch_name]):
            source_path = watch.root + source_path.removeprefix(self._roots[watch_name])
        there = own_stamp(to_path(source_path))
        copy = look_at(to_path(archive_path)) if archive_path and row.in_archive else None
        return Located(
            row, source_path, archive, archive_path, there, copy if isinstance(copy, Stamp) else None
        )

    def _archived(self, path: str | None) -> tuple[Archive | None, str | None]:
        if path is None:
            return None, None
        text = to_text(path)
        for root, archive in self._bases:
            if text.startswith(root):
                return archive, archive.root + text.removeprefix(root)
        return None, text


def _roots_of(archive: Archive) -> set[str]:
    return {archive.root, _real_root(str(archive.base))}


def _real_root(path: str) -> str:
    return to_text(os.path.realpath(path)).rstrip("/") + "/"
