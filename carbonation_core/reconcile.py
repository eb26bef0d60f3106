"""What lies in delivery against what the database says: the truth wins, interrupted work goes on."""

from dataclasses import dataclass

from carbonation_core.db import components
from carbonation_core.db.components import Change
from carbonation_core.db.engine import writing
from carbonation_core.lifecycle import Event, FileStatus
from carbonation_core.observe import observe, part_name
from carbonation_core.project import Project


@dataclass(frozen=True)
class DeliveryReconciliation:
    """What a reconciliation of a watch's delivery found and changed, in components."""

    watch_name: str
    seen: int
    new: int
    returned: int
    cleared: int
    rechecked: int


def reconcile_delivery(project: Project, watch_name: str) -> DeliveryReconciliation:
    """Look at the whole tree, and judge anew what failed an integrity check.

    Raises `ScanError` when the directory cannot be looked at; then nothing changes.
    """
    found = observe(project, watch_name)
    now = project.clock()
    with writing(project.engine) as connection:
        components.lock(connection, part_name(watch_name))
        failed = components.in_status(connection, watch_name, [FileStatus.INTEGRITY_FAILED])
        changes = [
            Change(file, Event.RECHECKED, "a reconcile judges it again")
            for file in failed
            if file.in_delivery
        ]
        rechecked = len(components.apply(connection, changes, now))
    observe(project, watch_name)
    return DeliveryReconciliation(watch_name, found.files, found.new, found.returned, found.gone, rechecked)
