"""What a batch that died has left in the archive is taken back, or carried to its end.

Its groups then come again as if it had never begun. What it had recorded stays,
and what should have followed the record is done here.
"""

import logging
import os
from collections.abc import Iterable, Sequence

from carbonation_core.config.loading import Config
from carbonation_core.db import components, copies
from carbonation_core.db.batches import Member
from carbonation_core.db.components import Change, Component
from carbonation_core.db.engine import Connection
from carbonation_core.disk import source, transfer
from carbonation_core.disk.probe import ANSWER_WITHIN, Prober
from carbonation_core.disk.source import Source
from carbonation_core.disk.temporary import clear, is_link_to, is_there, published, put_back, temporary_name
from carbonation_core.names import to_path, to_text

log = logging.getLogger(__name__)

_prober = Prober()  # one for all: what has not answered yet is not asked once more


def silent_disks(config: Config, watch_name: str, members: Iterable[Member]) -> list[str]:
    """Directories that do not answer, of those that groups on their way to an archive leave traces in."""
    names = {member.archive_name for member in members if member.archive_directory}
    if not names:
        return []
    asked = {archive.base for archive in config.archive if archive.name in names}
    asked |= {watch.path for watch in config.watch if watch.name == watch_name}
    found = _prober.ask(asked, ANSWER_WITHIN).values()
    return sorted(to_text(str(one.path)) for one in found if one.is_silent)


def take_back(connection: Connection, batch_id: str, members: Iterable[Member]) -> list[Change]:
    """Clear what a batch has left in the archive; only who ended it may.

    `members` are those of its groups that were in its hands to the end. Returns how that
    left their files: a link of the batch, and its removal, have changed a source's ctime.
    """
    routed = {member.group_id: member for member in members if member.archive_directory}
    files = components.of_groups(connection, routed)
    changes = []
    for group_id, member in routed.items():
        directory = to_path(member.archive_directory or "")
        for file in files[group_id]:
            temporary = temporary_name(batch_id, file.id)
            if not is_there(directory, temporary):
                continue
            path = to_path(file.source_path)
            is_linked = is_link_to(path, directory, temporary)
            if member.outcome is None:
                _withdraw(connection, directory, temporary, file)
            clear(directory, temporary)
            if is_linked:
                stamp = source.stamp_after_link(Source("", path, file.stamp))
                changes.append(Change(file, values=components.stamp_values(stamp)))
    recorded = [file.id for id_, member in routed.items() if member.outcome for file in files[id_]]
    remove_superseded(connection, copies.superseded_at_last(connection, recorded))
    return changes


def remove_superseded(connection: Connection, paths: Sequence[str]) -> None:
    """Remove copies that were superseded, unless something of ours lies there by now."""
    taken = copies.owners(connection, paths)
    for path in paths:
        if path in taken:
            continue
        try:
            transfer.remove_copy(to_path(path))
        except OSError as error:
            log.warning("the superseded copy %s cannot be removed: %s", path, error.strerror)


def _withdraw(connection: Connection, directory: str, temporary: str, file: Component) -> None:
    """Take back the final name that was given to a file and never recorded."""
    paths = published(directory, temporary, to_path(file.filename))
    owners = copies.owners(connection, map(to_text, paths))
    for path in paths:
        owner = owners.get(to_text(path))
        if owner == file.id:
            put_back(directory, temporary, path)
        elif owner is not None:
            continue
        elif os.path.lexists(to_path(file.source_path)):
            transfer.remove_copy(path)
        else:
            # Whoever delivered it may have seen it here and removed it there.
            log.warning("%s was archived and never recorded, and its source is gone; it stays", path)
