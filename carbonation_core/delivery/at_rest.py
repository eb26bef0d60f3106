"""Files of which nothing follows as long as they lie there as they were, which is most of a full directory.

They are held as small as can be, and no more is read of them unless they are
not as they were: memory hardly grows with what lies in delivery.
"""

from collections.abc import Iterable

from carbonation_core.config.loading import Config
from carbonation_core.db.components import Component
from carbonation_core.db.delivered import Rest
from carbonation_core.disk.scan import Look, Seen
from carbonation_core.disk.stamp import Stamp
from carbonation_core.lifecycle import Event, FileStatus, may


class AtRest:
    """Such files of a watch as they were known before a look, which takes away those that it finds so."""

    def __init__(self, root: str, files: Iterable[tuple[str, Stamp, str]] = ()) -> None:
        self._root = root
        self._known = {
            path.removeprefix(root): _packed(stamp) + status.encode() for path, stamp, status in files
        }

    def takes(self, seen: Seen) -> bool:
        """Whether that is one of them, as it was; it is then done with."""
        known = self._known.get(seen.path)
        if known is None or not known.startswith(_packed(seen.stamp)):
            return False
        del self._known[seen.path]
        return True

    def changed(self, seen: Look) -> list[str]:
        """The absolute paths of those that a look did not find as they were, though it could have."""
        there = {entry.path for entry in seen.files}
        # What lies outside the root, as from before the watch's path was another, is known by its whole path.
        return [
            path if path.startswith("/") else self._root + path
            for path in self._known
            if path in there or seen.could_see(path)
        ]

    def is_overtaken(self, file: Component) -> bool:
        """Whether one was changed in the database, too, since the look began: a later one decides of it."""
        before = self._known.get(file.source_path.removeprefix(self._root))
        is_still = file.in_delivery and before == _packed(file.stamp) + file.status.encode()
        return before is not None and not is_still


def rest(config: Config, *, other_rules: bool) -> Rest:
    """Of which files nothing follows if they lie there as they were."""
    moving = frozenset(archive.name for archive in config.archive if archive.action == "move")
    asking = {FileStatus.DETECTED, FileStatus.RETRY_PENDING}
    if other_rules:
        asking |= {status for status in FileStatus if may(status, Event.RULES_CHANGED)}
    return Rest(frozenset(FileStatus) - asking, moving)


def _packed(stamp: Stamp) -> bytes:
    return f"{stamp.size} {stamp.mtime_ns} {stamp.ctime_ns} {stamp.inode} ".encode()
