"""A whole project in a temporary directory, with a clock that tests set."""

import os
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Mapped

from carbonation_core import FileBase, Plugin
from carbonation_core.config.loading import load_config
from carbonation_core.db.columns import jsonable
from carbonation_core.db.engine import make_engine, reading
from carbonation_core.db.models import ArchiveCopy, FeedEntry, FileComponent, Group, StatusChange
from carbonation_core.delivery.observe import Observation, observe
from carbonation_core.names import MARK, to_text
from carbonation_core.pipeline.batch_report import BatchReport
from carbonation_core.pipeline.claim import Offer, claim
from carbonation_core.pipeline.work import Stage, work
from carbonation_core.project import Project
from tests import databases

STAGES = tuple(Stage)


class File(FileBase):
    """Groups with three columns of a plugin."""

    __tablename__ = "files"

    category: Mapped[str | None]
    size: Mapped[int | None]
    start: Mapped[datetime | None]


def sizes(file_paths: list[Path]) -> dict[str, Any]:
    """An extractor: bytes in all, the first file's first line as category."""
    first = file_paths[0].read_text(encoding="utf-8", errors="replace").splitlines()
    return {
        "category": first[0] if first else None,
        "size": sum(path.stat().st_size for path in file_paths),
    }


def broken(file_paths: list[Path]) -> dict[str, Any]:
    """An extractor that fails while the file says so."""
    if any(b"broken" in path.read_bytes() for path in file_paths):
        raise ValueError("the file says it is broken")
    return {"category": "mended"}


def by_first_letter(*, file_path: Path) -> str | None:
    """A group function: the name's first letter; "x" is left alone, "!" is an error."""
    letter = file_path.name[0]
    if letter == "!":
        raise ValueError("cannot say")
    return None if letter == "x" else letter


def no_tests(*, metadata: dict[str, Any]) -> bool:
    """A selection function."""
    return metadata.get("category") != "test"


def to_other(*, metadata: dict[str, Any]) -> str | None:
    """A routing function."""
    return "other" if metadata.get("category") == "other" else None


PLUGIN = Plugin(
    File,
    extractors={"sizes": sizes, "broken": broken},
    group_functions={"by_first_letter": by_first_letter},
    selection_functions={"no_tests": no_tests},
    routing_functions={"to_other": to_other},
)

PAIRS = """
    [pairs.completeness]
    group_by = "stem"
    expected_extensions = [".dat", ".json"]
    optional_extensions = [".txt"]
    primary_extension = ".dat"
    [[pairs.integrity]]
    type = "min_size"
    value = 1
"""
SINGLE = "[single]\n"


@dataclass
class Site:
    """The project, and what a test does with it and asks of it."""

    directory: Path
    project: Project
    now: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC)
    reports: list[BatchReport] = field(default_factory=list)

    @property
    def incoming(self) -> Path:
        return self.directory / "incoming"

    @property
    def archive(self) -> Path:
        return self.directory / "archive"

    def deliver(self, *names: str, content: bytes = b"bytes") -> None:
        for name in names:
            path = self.incoming / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def delivered(self) -> set[str]:
        """The names of all that lies in the watch."""
        return {path.name for path in self.incoming.iterdir()} - {MARK}

    def tick_clock(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def tick(self, seconds: float = 0) -> Observation:
        self.tick_clock(seconds)
        return observe(self.project, "incoming")

    def settle(self) -> Observation:
        self.tick()
        return self.tick(3)

    def claim(self) -> list[Offer]:
        return claim(self.project, "incoming", "here")

    def run(self, offer: Offer, run_id: str = "run-1") -> BatchReport:
        with work(self.project, offer.batch_id, run_id) as job:
            for stage in STAGES:
                job.advance(stage)
            return job.finish()

    def run_all(self) -> list[BatchReport]:
        self.reports = [self.run(offer) for offer in self.claim()]
        return self.reports

    def one_pass(self) -> Observation:
        """Look until settled, and work on all that is ready; the last look."""
        found = self.settle()
        self.run_all()
        return found

    def statuses(self) -> dict[str, str]:
        """Status by path relative to the watch."""
        root = to_text(str(self.incoming)) + "/"
        query = select(FileComponent.source_path, FileComponent.status)
        with reading(self.project.engine) as connection:
            return {path.removeprefix(root): status for path, status in connection.execute(query)}

    def component(self, path: str) -> Any:
        """A component's row by its path relative to the watch."""
        source = to_text(str(self.incoming / path))
        query = select(FileComponent.__table__).where(FileComponent.source_path == source)
        with reading(self.project.engine) as connection:
            return connection.execute(query).one()

    def group(self, key: str) -> Any:
        query = select(File.__table__).where(File.group_key == key)
        with reading(self.project.engine) as connection:
            return connection.execute(query).one()

    def group_keys(self) -> set[str]:
        with reading(self.project.engine) as connection:
            return set(connection.execute(select(Group.group_key)).scalars())

    def feed(self) -> list[tuple[str, str]]:
        """Group key and event of every entry, in order."""
        query = (
            select(Group.group_key, FeedEntry.event)
            .join(Group, Group.id == FeedEntry.group_id)
            .order_by(FeedEntry.sequence)
        )
        with reading(self.project.engine) as connection:
            return [(key, event) for key, event in connection.execute(query)]

    def history(self, path: str) -> list[tuple[str | None, str, str]]:
        """From, to and event of every change of a component."""
        component_id = self.component(path).id
        query = (
            select(StatusChange.from_status, StatusChange.to_status, StatusChange.event)
            .where(StatusChange.component_id == component_id)
            .order_by(StatusChange.id)
        )
        with reading(self.project.engine) as connection:
            return [(before, after, event) for before, after, event in connection.execute(query)]

    def copies(self) -> list[Any]:
        with reading(self.project.engine) as connection:
            return list(connection.execute(select(ArchiveCopy.__table__).order_by(ArchiveCopy.id)))

    def archived(self) -> dict[str, bytes]:
        """Content of everything in the archive, by relative path."""
        return {
            str(path.relative_to(self.archive)): path.read_bytes()
            for path in sorted(self.archive.rglob("*"))
            if not path.is_dir()
        }

    def close(self) -> None:
        """Leave nothing of it open; its database may be another site's then."""
        self.project.engine.dispose()
        databases.give_back(self.project.config.database)

    def set_rules(self, rules: str) -> None:
        (self.directory / "rules.toml").write_text(textwrap.dedent(rules), encoding="utf-8")


def make_site(
    directory: Path,
    rules: str = PAIRS,
    watch: Mapping[str, str] | None = None,
    archive: Mapping[str, str] | None = None,
    service: Mapping[str, str] | None = None,
    plugin: Plugin = PLUGIN,
    more: str = "",
) -> Site:
    """A project with watch "incoming" and archive "main"; values are TOML texts."""
    (directory / "incoming").mkdir(exist_ok=True)
    rules = textwrap.dedent(rules)
    (directory / "rules.toml").write_text(rules, encoding="utf-8")
    name = rules.strip().removeprefix("[").lstrip("[").split("]")[0].split(".")[0]
    watch_keys = {
        "name": '"incoming"',
        "path": '"incoming"',
        "rules": f'"{name}"',
        "archive": '"main"',
        **(watch or {}),
    }
    archive_keys = {"name": '"main"', "destination": '"archive"', **(archive or {})}
    tables = (("[service]", service or {}), ("[[watch]]", watch_keys), ("[[archive]]", archive_keys))
    text = "".join(
        f"{heading}\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for heading, keys in tables
    )
    database = databases.as_toml(databases.at_head(directory, plugin.file_model))
    (directory / "config.toml").write_text(database + text + textwrap.dedent(more), encoding="utf-8")
    return open_site(directory, plugin)


def open_site(directory: Path, plugin: Plugin = PLUGIN) -> Site:
    """A project that was made before, perhaps by another process."""
    config = load_config(directory / "config.toml")
    engine = databases.compiled_once(make_engine(config.database, jsonable))
    site = Site(directory, Project(config, plugin, engine))
    site.project = Project(config, plugin, engine, lambda: site.now)
    return site


SiteMaker = Callable[..., Site]


def touch(path: Path, content: bytes) -> None:
    """Other bytes in a file, and surely another ctime."""
    before = path.stat().st_ctime_ns if path.exists() else 0
    while True:
        path.write_bytes(content)
        if path.stat().st_ctime_ns != before:
            return
        os.utime(path)
