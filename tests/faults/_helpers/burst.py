"""Bursts of pairs that a service archives while its processes are killed."""

from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import func, select

from carbonation_core.db import meters, tallies
from carbonation_core.db.engine import reading
from carbonation_core.db.models import ArchiveCopy, Batch, FeedEntry, FileComponent
from carbonation_core.lifecycle import Outcome
from tests.dagster._helpers.running import Running
from tests.site import Site

# What is killed in turn: a name for people, and the processes.
VICTIMS = {
    "daemon": ("daemon",),
    "code server": ("code server",),
    "run worker": ("run worker",),
    "pool of workers": ("workers",),
    "web server": ("web server",),
    "all at once": ("daemon", "code server", "web server", "workers", "run worker"),
}


@dataclass
class Bursts:
    """All that was ever delivered to a project, and what became of it."""

    site: Site
    delivered: dict[str, bytes] = field(default_factory=dict)
    again: Counter[str] = field(default_factory=Counter)  # keys of groups

    def deliver(self, name: str, pairs: int) -> None:
        """A pair is `name-N.dat` and `name-N.json`."""
        for number in range(pairs):
            for ending in ("dat", "json"):
                content = f"{name} {number} {ending}\n".encode() * 20
                self.site.deliver(f"{name}-{number}.{ending}", content=content)
                self.delivered[f"{name}-{number}.{ending}"] = content

    def deliver_again(self, key: str) -> None:
        """Other bytes for one file of a group that is archived."""
        self.again[key] += 1
        content = f"{key} for the {self.again[key]}. time\n".encode()
        self.site.deliver(f"{key}.dat", content=content)
        self.delivered[f"{key}.dat"] = content

    def archived(self) -> int:
        with reading(self.site.project.engine) as connection:
            query = select(func.count()).where(FileComponent.status == "archived")
            return int(connection.execute(query).scalar_one())

    def is_under_way(self) -> bool:
        """Whether a run holds groups now."""
        with reading(self.site.project.engine) as connection:
            query = select(func.count()).where(Batch.status == "running")
            return bool(connection.execute(query).scalar_one())

    def is_done(self) -> bool:
        """Whether all is archived, what came again included, and every run has cleaned up after itself."""
        is_recorded = self.archived() == len(self.delivered) and self.replaced() == self.again.total()
        return is_recorded and not self.is_under_way()

    def replaced(self) -> int:
        with reading(self.site.project.engine) as connection:
            query = select(func.count()).where(FeedEntry.event == "replaced")
            return int(connection.execute(query).scalar_one())

    def require_once_each(self) -> None:
        """Nothing is lost, wrong or doubled: on disk, among the copies, in the feed, and as it is told."""
        assert self.site.archived() == self.delivered
        with reading(self.site.project.engine) as connection:
            live = list(connection.execute(select(ArchiveCopy.path).where(ArchiveCopy.path_key.is_not(None))))
            done = meters.done(tallies.by_watch(connection)["incoming"])
        assert len(live) == len({path for (path,) in live}) == len(self.delivered)
        feed = Counter(self.site.feed())
        groups = {name.rpartition(".")[0] for name in self.delivered}
        once = Counter({(key, "completed"): 1 for key in groups})
        assert feed == once + Counter({(key, "replaced"): times for key, times in self.again.items()})
        assert done.outcomes[Outcome.ARCHIVED] == sum(done.took) == feed.total()


def hurt(service: Running, victim: str, within: float = 150) -> float:
    """Kill a victim, and wait until all parts answer again; the seconds that took."""
    killed = set(service.kill(*VICTIMS[victim]))

    def is_well_again() -> bool:
        return service.is_well() and not killed & {pid for pids in service.pids().values() for pid in pids}

    return service.wait_for(is_well_again, within)
