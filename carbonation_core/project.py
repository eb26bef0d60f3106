"""An opened project: configuration, plugin, database and clock, handed to every use case."""

import importlib.metadata
import logging
import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from carbonation_core.config.loading import Config, load_config
from carbonation_core.config.toml import read_toml
from carbonation_core.db import locks, rule_versions, schema
from carbonation_core.db.batches import Fingerprint
from carbonation_core.db.clock import clock_of, utc_now
from carbonation_core.db.columns import jsonable
from carbonation_core.db.engine import Connection, Engine, make_engine, reading, repeatable, writing
from carbonation_core.db.locks import Held
from carbonation_core.db.rule_versions import Author
from carbonation_core.disk.mark import directory_at
from carbonation_core.disk.stamp import Stamp
from carbonation_core.errors import ConfigError, DatabaseError, ScanError
from carbonation_core.plugin import Plugin, code_on_disk, load_plugin, loaded_code
from carbonation_core.process import host_name, pid_of, user_name
from carbonation_core.rules.rule_sets import Rules, load_rules, rules_digest

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]
Progress = Callable[[str, int, int | None], None]  # what, how many so far, of how many if that is known


@dataclass(frozen=True)
class Project:
    """What every use case works with."""

    config: Config
    plugin: Plugin
    engine: Engine
    clock: Clock = utc_now

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What this process does its work with."""
        return Fingerprint(self.config.digest, release(), loaded_code(self.plugin))

    @property
    def wanted(self) -> Fingerprint:
        """What the groups that are claimed now are to be worked on with: the plugin as its files are."""
        return self.fingerprint._replace(plugin_digest=code_on_disk(self.plugin))


def release() -> str:
    """The release of this program, whose code this process has loaded."""
    return _LOADED


def installed_release() -> str | None:
    """The release that is installed now, perhaps another one since; None in the middle of an upgrade."""
    try:
        return importlib.metadata.version("carbonation-dagster")
    except importlib.metadata.PackageNotFoundError:
        return None


_LOADED = importlib.metadata.version(
    "carbonation-dagster"
)  # later on disk is what another process would load


def open_unchecked(path: str | Path | None = None, clock: Clock | None = None) -> Project:
    """The project, whatever the state of its database; raises `ConfigError`.

    Its clock is that of the database unless another is given.
    """
    config = load_config(path)
    engine = make_engine(config.database, jsonable, config.path)
    return Project(config, load_plugin(config), engine, clock or clock_of(engine))


def open_project(path: str | Path | None = None, clock: Clock | None = None) -> Project:
    """The project with its schema current.

    Raises `ConfigError`, or `DatabaseError` saying what to run.
    """
    project = open_unchecked(path, clock)
    require_database(project)
    return project


def require_database(project: Project) -> None:
    """Raise `DatabaseError`, saying what to run, unless the tables are what release and plugin need."""
    if not schema.is_surely_current(project.engine, project.plugin.migrations_path):
        from carbonation_core.db import migrate  # brings Alembic, which is slow to import

        is_empty = migrate.status(project.engine, project.plugin.migrations_path).is_empty
        if is_empty and (name := _looked_at(project.config)):
            raise DatabaseError(
                f"database {project.engine.url.render_as_string(hide_password=True)} is gone, or empty: "
                f"watch {name} was looked at before; bring it back, or make one that knows nothing of "
                "what was archived: carbonation db init"
            )
        migrate.require_current(project.engine, project.plugin.migrations_path)
    schema.require_columns(project.engine, project.plugin.file_model)


def _looked_at(config: Config) -> str | None:
    """A watch whose directory bears the mark that a look leaves there, so that there was a database."""
    for watch in config.watch:
        with suppress(ScanError):
            if directory_at(watch.path).mark is not None:
                return watch.name
    return None


def rules_on_disk(project: Project) -> Rules:
    """rules.toml as it is now; raises `ConfigError`."""
    text = read_toml(project.config.rules.file)
    return load_rules(text, project.config, project.plugin.names)


def rules_in_force(project: Project) -> Rules:
    """The rules that this site accepted last, after a look at rules.toml.

    A changed file is accepted, or refused once with its faults in the log and
    the database; then the earlier rules go on. They go on, too, on another host than
    that of the site's head, whose file it is that counts: a copy may be an old one.
    Raises `ConfigError` when the site never accepted any.
    """
    site = project.config.service.site_name
    with reading(project.engine) as connection:
        accepted = rule_versions.accepted(connection, site)
        last = rule_versions.latest(connection, site)
    text = ""
    try:
        text = read_toml(project.config.rules.file)
        rules = load_rules(text, project.config, project.plugin.names)
    except ConfigError as error:
        if accepted is None:
            none = f"site {site} never accepted any rules, so there are none to go on with"
            raise ConfigError(*error.faults, none) from error
        digest = rules_digest(text)
        if (last is None or last.digest != digest) and not _head_elsewhere(project):
            log.error("rules refused, %s stay in force: %s", accepted.digest[:12], error)
            _remember(project, digest, text, refused=str(error))
        return rules_of(project, accepted.digest)
    if accepted is not None:
        if rules.digest == accepted.digest == (last and last.digest):
            return rules
        if head := _head_elsewhere(project):
            log.info("rules %s go on, which host %s has as the head", accepted.digest[:12], head.host)
            return rules_of(project, accepted.digest)
    log.info("rules %s are in force", rules.digest[:12])
    _remember(project, rules.digest, rules.text, refused=None)
    return rules


def _head_elsewhere(project: Project) -> Held | None:
    """The head of this site, if it works on another host; there is one where a service works on a server."""
    with reading(project.engine) as connection:
        name = locks.lease_of_head(project.config.service.site_name)
        head = locks.lease(connection, name, locks.HEAD_LEASE)
    return head if head is not None and pid_of(head.holder) is None else None


@repeatable
def _remember(project: Project, digest: str, text: str, refused: str | None) -> None:
    author = _author(project.config.rules.file)
    with writing(project.engine) as connection:
        site = project.config.service.site_name
        rule_versions.record(connection, site, digest, text, project.clock(), refused, author)


def rules_of(project: Project, digest: str) -> Rules:
    """The accepted rules of that digest, whichever site's; raises `ConfigError` when there are none."""
    with reading(project.engine) as connection:
        return _rules_of(project, connection, digest)


def _rules_of(project: Project, connection: Connection, digest: str) -> Rules:
    text = rule_versions.text_of(connection, digest)
    if text is None:
        raise ConfigError(f"{project.config.rules.file}: no accepted version has the digest {digest}")
    return load_rules(text, project.config, project.plugin.names)


def _author(file: Path) -> Author:
    """Whose file it is and when it was written, as the file system knows, and who reads it here."""
    read_by = f"{user_name()} on {host_name()} (pid {os.getpid()})"
    try:
        found = file.stat()
    except OSError:
        return Author(read_by=read_by)
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    return Author(owner, Stamp.of(found).written_at, read_by)


def rules_accepted(project: Project, connection: Connection) -> Rules | None:
    """The rules in force at this site, without a look at rules.toml; None before the first were accepted.

    Also None when the plugin or config.toml no longer go with them.
    """
    version = rule_versions.accepted(connection, project.config.service.site_name)
    try:
        return _rules_of(project, connection, version.digest) if version is not None else None
    except ConfigError:
        return None
