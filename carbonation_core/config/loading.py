"""config.toml, found and loaded: paths absolute, tables in accord. Every fault names file, table and key."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from carbonation_core.config.secrets import KEYS, settings
from carbonation_core.config.sections import (
    Archive,
    DatabaseSection,
    LoggingSection,
    MetricsSection,
    NotifySection,
    PluginsSection,
    RulesSection,
    ServiceSection,
    Watch,
)
from carbonation_core.config.templates import constant_directory, under
from carbonation_core.config.toml import Section, at_home, parse, parse_toml, place, read_toml, section_in
from carbonation_core.errors import ConfigError
from carbonation_core.text import listing

ENVIRONMENT_VARIABLE = "CARBONATION_CONFIG"
# Set by `carbonation run` for its processes: a copy of that config.toml as it was
# when the service read it. A change holds for all of them at once, or for none.
ACCEPTED_VARIABLE = "CARBONATION_ACCEPTED_CONFIG"
# The assets of a watch are <watch>/delivery and <watch>/catalog; these begin others.
RESERVED_NAMES = ("archive", "report")


_OF_ONE_HOST = {"site", "workers", "runs_at_once"}  # keys of [service] that say nothing of a group's way


class Config(Section):
    """config.toml with every path absolute."""

    service: ServiceSection = ServiceSection()
    logging: LoggingSection = LoggingSection()
    database: DatabaseSection = DatabaseSection()
    plugins: PluginsSection = PluginsSection()
    rules: RulesSection = RulesSection()
    notify: NotifySection = NotifySection()
    metrics: MetricsSection = MetricsSection()
    watch: tuple[Watch, ...] = Field((), strict=False)
    archive: tuple[Archive, ...] = Field((), strict=False)
    _path: Path = PrivateAttr(Path("config.toml"))

    @property
    def path(self) -> Path:
        """The file all this stands in; absolute once it is loaded."""
        return self._path

    @property
    def directory(self) -> Path:
        """The directory that relative paths start from."""
        return self.path.parent

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no line of a log may hold."""
        tables = (table for table in dict(self).values() if isinstance(table, Section))
        given = (getattr(table, key) for table in tables for key in table.secret_keys())
        return tuple(filter(None, given))

    @property
    def digest(self) -> str:
        """SHA-256 of what a run does its work by: the same on each host, and without secrets."""
        tables = {"plugins", "watch", "archive", "service"}
        shaped = self.model_dump_json(include=tables, exclude={"service": _OF_ONE_HOST})
        return hashlib.sha256(shaped.encode()).hexdigest()

    def watch_named(self, name: str) -> Watch:
        """The watch of that name; raises `ConfigError` listing the known ones."""
        for watch in self.watch:
            if watch.name == name:
                return watch
        raise ConfigError(
            f'{place(self.path)}: there is no watch "{name}"; '
            f"known: {listing(watch.name for watch in self.watch)}"
        )

    def archive_named(self, name: str) -> Archive:
        """The archive of that name; raises `ConfigError` listing the known ones."""
        for archive in self.archive:
            if archive.name == name:
                return archive
        raise ConfigError(
            f'{place(self.path)}: there is no archive "{name}"; '
            f"known: {listing(archive.name for archive in self.archive)}"
        )


def find_config(path: str | Path | None = None) -> Path:
    """Where config.toml is: `path`, else $CARBONATION_CONFIG, else ./config.toml."""
    found = Path(path or os.environ.get(ENVIRONMENT_VARIABLE) or "config.toml")
    if ".." in found.parts:  # what it leads to depends on the symlinks before it
        return Path(os.path.realpath(found.parent), found.name)
    return Path(os.path.normpath(found.absolute()))


def load_config(path: str | Path | None = None) -> Config:
    """config.toml, checked by itself; raises `ConfigError`."""
    file = find_config(path)
    return config_from(parse_toml(read_toml(_accepted(file) or file), str(file)), file)


def config_from(data: dict[str, Any], file: Path) -> Config:
    """The configuration that `data` is, as if it stood in that file; raises `ConfigError`."""
    for table in KEYS:
        model = section_in(Config.model_fields[table].annotation)
        if model is not None and isinstance(data.get(table, {}), dict):
            data[table] = settings(table, data.get(table, {}), model)
    config = _with_absolute_paths(parse(Config, data, str(file)), file)
    faults = [f"{place(file, table, key)}: {fault}" for table, key, fault in _faults(config)]
    if faults:
        raise ConfigError(*faults)
    return config


def _accepted(file: Path) -> Path | None:
    copy = os.environ.get(ACCEPTED_VARIABLE)
    return Path(copy) if copy and str(file) == os.environ.get(ENVIRONMENT_VARIABLE) else None


def dagster_name(name: str) -> str:
    """A watch's or archive's name as Dagster's names take it."""
    return re.sub(r"[.-]", "_", name)


def _with_absolute_paths(config: Config, file: Path) -> Config:
    def absolute(path: Path) -> Path:
        return Path(os.path.normpath(file.parent / path))

    def settled(archive: Archive) -> Archive:
        root = file.parent if archive.base_path is None else absolute(archive.base_path)
        destination = under(archive.destination, root)
        base = Path(constant_directory(destination)) if archive.base_path is None else root
        return archive.model_copy(update={"destination": destination, "base_path": base})

    database, logging = config.database, config.logging
    if database.drivername == "sqlite":
        name = str(absolute(Path(at_home(database.name))))
        database = database.model_copy(update={"name": name})
    if logging.file is not None:
        logging = logging.model_copy(update={"file": absolute(logging.file)})
    loaded = config.model_copy(
        update={
            "database": database,
            "logging": logging,
            "rules": config.rules.model_copy(update={"file": absolute(config.rules.file)}),
            "watch": tuple(w.model_copy(update={"path": absolute(w.path)}) for w in config.watch),
            "archive": tuple(settled(archive) for archive in config.archive),
        }
    )
    loaded._path = file
    return loaded


def _faults(config: Config) -> Iterator[tuple[str, str, str]]:
    """Table, key and sentence of everything that only shows across tables."""
    if not config.watch:
        yield "[[watch]]", "", "there is no watch; there should be at least one"
    yield from _name_faults("watch", [watch.name for watch in config.watch])
    yield from _name_faults("archive", [archive.name for archive in config.archive])
    archives = [archive.name for archive in config.archive]
    for watch in config.watch:
        table = f'[[watch]] "{watch.name}"'
        labels = [expected.label for expected in watch.expect]
        for label in sorted({label for label in labels if labels.count(label) > 1}):
            yield f"{table}: expect", "name", f'{labels.count(label)} are called "{label}"; give each a name'
        if watch.name in RESERVED_NAMES:
            yield table, "name", f"other assets in Dagster begin with {watch.name}/; give it another name"
        if watch.archive is not None and watch.archive not in archives:
            yield table, "archive", f'there is no archive "{watch.archive}"; known: {listing(archives)}'
        for archive in config.archive:
            if watch.path.is_relative_to(archive.base):
                yield (
                    table,
                    "path",
                    (
                        f'"{watch.path}" lies inside archive "{archive.name}" ("{archive.base}"); '
                        "what is archived would be delivered again"
                    ),
                )
            elif watch.recursive and archive.base.is_relative_to(watch.path):
                yield (
                    table,
                    "path",
                    (
                        f'archive "{archive.name}" ("{archive.base}") lies inside this recursive watch; '
                        "what is archived would be delivered again"
                    ),
                )
    for archive in config.archive:
        if not Path(constant_directory(archive.destination)).is_relative_to(archive.base):
            yield (
                f'[[archive]] "{archive.name}"',
                "destination",
                f'"{archive.destination}" lies outside base_path "{archive.base}"',
            )


def _name_faults(table: str, names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    seen: dict[str, str] = {}
    for name in names:
        key = dagster_name(name)
        if key not in seen:
            seen[key] = name
            continue
        other = seen[key]
        where = f'[[{table}]] "{name}"'
        if other == name:
            yield where, "name", f"another {table} has that name"
        else:
            yield (
                where,
                "name",
                f'is the same as {table} "{other}" in Dagster, where "-" and "." become "_"; rename one',
            )
