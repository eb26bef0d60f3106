"""The tables of config.toml as frozen values, each checked by itself."""

import os
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from carbonation_core.config.expectations import Expect
from carbonation_core.config.labels import Owner, Tags
from carbonation_core.config.rotation import parse_retention, parse_rotation
from carbonation_core.config.templates import check_template, constant_directory
from carbonation_core.config.toml import LONGEST_VALUE, DirectoryPath, Duration, FilePath, Section
from carbonation_core.config.values import (
    Argument,
    DatabaseName,
    DirMode,
    FileMode,
    HookTimeout,
    HostName,
    Level,
    Listen,
    Name,
    Share,
    Token,
    Url,
)
from carbonation_core.logs.file import Retention, Rotation
from carbonation_core.names import MARK, PATH_MAX, matches_any, to_text
from carbonation_core.process import LONGEST_HOST, host_name

Observer = Literal["auto", "native", "polling"]
Symlinks = Literal["refuse", "follow_inside"]
Redelivery = Literal["replace", "version", "ignore", "error"]
Action = Literal["copy", "move", "hardlink", "symlink"]
OnConflict = Literal["error", "version"]
Durability = Literal["batch", "file", "none"]
Verify = Literal["written", "read"]
Occasion = Literal["run_failure", "check_failure", "arrival"]
Driver = Literal[
    "sqlite",
    "postgresql",
    "postgresql+psycopg2",
    "mysql",
    "mysql+mysqldb",
    "mysql+pymysql",
    "mariadb",
    "mariadb+mysqldb",
    "mariadb+pymysql",
]

YEAR = 365 * 86_400  # seconds
MISSED_BEATS = 2  # so many may fail to come before who should have sent them is taken for lost
MISSED_LOOKS = 3  # a look is noted with the first tick after a beat's time, and may itself take long
# A tick of a sensor waits for files for a third of this, and the next comes some seconds later.
LEAST_ALLOWED_SILENCE = timedelta(minutes=1)


class ServiceSection(Section):
    """Which site this is; how often, how many, how long."""

    site: Annotated[Name, Field(max_length=LONGEST_HOST)] | None = Field(
        None,
        description="what a service is called among those that share a database, the same on each of its "
        "hosts; absent: the host's name",
    )
    poll_interval: Duration = Field(
        timedelta(seconds=5), description="how often a watch without file events is scanned"
    )
    reconcile_interval: Duration = Field(
        timedelta(hours=24), description="how often disk and database are compared"
    )
    heartbeat_interval: Duration = Field(
        timedelta(seconds=60), description="how often the service says that it lives"
    )
    workers: int = Field(
        4, ge=1, le=1000, description="transfers at a time, of large files and between hosts"
    )
    max_retries: int = Field(
        3, ge=0, le=1000, description="attempts after the first before a group has failed"
    )
    retry_delay: Duration = Field(timedelta(minutes=30), description="wait before the second attempt")
    retry_backoff: float = Field(
        2.0, ge=1, le=1000, allow_inf_nan=False, description="growth of that wait with each attempt"
    )
    retry_delay_max: Duration = Field(timedelta(hours=6), description="the longest wait between attempts")
    stale_threshold: Duration = Field(
        timedelta(days=1),
        description="a group that waits longer is reported as stale, and so is a consumer of the feed",
    )
    stats_recompute_every: int = Field(
        10,
        ge=1,
        le=1_000_000,
        description="heartbeats after which the numbers that `status` shows are counted anew",
    )
    groups_per_run: int = Field(500, ge=1, le=1_000_000, description="groups in one run at most")
    single_group_runs: int = Field(
        4, ge=0, le=1_000_000, description="up to so many ready groups get a run each while the watch is idle"
    )
    runs_at_once: int | None = Field(
        None, ge=1, le=1000, description="runs at a time, of all watches together; as many as there are cores"
    )
    max_loss: Share = Field(
        0.1, description="share of an archive that a reconcile may call missing without `--force`"
    )
    max_runtime: Duration = Field(timedelta(hours=6), description="a run that takes longer is ended")
    history_retention: Duration = Field(
        timedelta(days=365), description="how long changes of status are kept"
    )
    run_retention: Duration = Field(timedelta(days=30), description="how long Dagster's runs are kept")

    @property
    def site_name(self) -> str:
        """What this site is called."""
        return self.site or host_name()

    @property
    def allowed_silence(self) -> timedelta:
        """How long a heartbeat may take to come."""
        return max(MISSED_BEATS * self.heartbeat_interval, LEAST_ALLOWED_SILENCE)

    @property
    def allowed_between_looks(self) -> timedelta:
        """How long a watch may go without a look that is noted."""
        return max(MISSED_LOOKS * max(self.heartbeat_interval, self.poll_interval), LEAST_ALLOWED_SILENCE)

    @property
    def slots(self) -> int:
        """How many runs there may be at a time."""
        return self.runs_at_once or len(os.sched_getaffinity(0))


class LoggingSection(Section):
    """Where the service's log goes, and in what form."""

    level: Level = Field("INFO", description="the least level that is written, in any case")
    file: FilePath | None = Field(
        None, description="a file that `carbonation run` writes, too; absent: standard error only"
    )
    rotation: Annotated[Rotation, BeforeValidator(parse_rotation), PlainSerializer(str)] = Field(
        parse_rotation("10 MB"),
        description="a new file before it has more bytes (`kB`, `MB`, `GB`), or when a full period of UTC "
        "begins (`seconds` to `weeks`)",
    )
    retention: Annotated[Retention, BeforeValidator(parse_retention), PlainSerializer(str)] = Field(
        parse_retention("30 days"), description="how long old files are kept, or how many: `10 files`"
    )
    format: Literal["text", "json"] = Field("text", description="one line of text, or one JSON object a line")


class DatabaseSection(Section):
    """The database that remembers every file."""

    drivername: Driver = Field("sqlite", description="SQLAlchemy's name of database and driver")
    username: str | None = Field(None, description="absent: from the environment or secrets.toml")
    password: str | None = Field(
        None,
        max_length=LONGEST_VALUE,
        repr=False,
        description="absent: from the environment or secrets.toml",
    )
    host: str | None = Field(None, description="absent: from the environment or secrets.toml")
    port: int | None = Field(None, ge=1, le=65535, description="absent: from the environment or secrets.toml")
    name: DatabaseName = Field(
        "carbonation.db", min_length=1, max_length=PATH_MAX, description="database; for SQLite its file"
    )
    echo: bool = Field(False, description="log every statement")


class PluginsSection(Section):
    """The package that gives typed columns and callables."""

    package: str | None = Field(
        None,
        min_length=1,
        description="import path, `module` or `module:plugin`; absent: the one registered entry point",
    )


class RulesSection(Section):
    """The file of rule sets."""

    file: FilePath = Field(Path("rules.toml"), description="the file of rule sets")


class NotifySection(Section):
    """Who is told of runs that fail, and of checks that begin to fail."""

    on: tuple[Occasion, ...] = Field(
        ("run_failure", "check_failure", "arrival"),
        strict=False,
        description="of what; an empty array: of nothing",
    )
    log: bool = Field(True, description="a line each in the service's log")
    command: tuple[Argument, ...] = Field(
        (), strict=False, description="program and arguments; it gets the message as JSON on standard input"
    )
    webhook: Url | None = Field(
        None,
        repr=False,
        description="address to which the message is sent as JSON; absent: from the environment or "
        "secrets.toml",
    )
    token: Token | None = Field(
        None,
        max_length=LONGEST_VALUE,
        repr=False,
        description="sent to it as `Authorization: Bearer …`; absent: from the environment or secrets.toml",
    )
    timeout: HookTimeout = Field(
        timedelta(seconds=10), description="how long command or webhook may take; at most 40s"
    )
    interval: Duration = Field(
        timedelta(minutes=1), description="at most one message in so long; what fails meanwhile comes in one"
    )


class MetricsSection(Section):
    """Where Prometheus asks how the service does."""

    listen: Listen | None = Field(
        None,
        description="address and port, as in `127.0.0.1:9464`, or a port of `127.0.0.1`; absent: nothing "
        "listens",
    )

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port."""
        if self.listen is None:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]") or "127.0.0.1", int(port)


class Watch(Section):
    """A directory that is watched, with its rule set."""

    name: Name = Field(description="unique; letters, digits, `_`, `-`, `.`; not `archive` or `report`")
    type: str | None = Field(None, description="label, stored as `file_type`")
    path: DirectoryPath = Field(description="the directory that is watched")
    recursive: bool = Field(False, description="look into its directories, too")
    patterns: tuple[str, ...] = Field(
        (), strict=False, description="globs on the file's name; absent: all files"
    )
    ignore_patterns: tuple[str, ...] = Field(
        ("*.tmp", "*.part", "*.partial", "*.filepart", "*.crdownload", ".*"),
        strict=False,
        description="globs on names of files and of directories below it that are left alone; they win",
    )
    rules: str = Field(description="the rule set of rules.toml that holds here")
    archive: str | None = Field(None, description="default archive, if the rule set names none")
    settle_seconds: float = Field(
        2.0, gt=0, le=YEAR, allow_inf_nan=False, description="a file unchanged for so long has settled"
    )
    symlinks: Symlinks = Field(
        "refuse", description="`follow_inside`: follow a symlink whose target lies inside the watch"
    )
    redelivery: Redelivery = Field(
        "replace",
        description="a known path with other bytes: `replace` what is archived, keep both (`version`), "
        "`ignore` it, or mark it failed (`error`)",
    )
    expect_every: Duration | None = Field(
        None, description="a feed that brings nothing for longer is late; absent: nothing is expected"
    )
    observer: Observer = Field(
        "auto", description="`native`: file events; `polling`: scans; `auto`: whichever works"
    )
    hosts: tuple[HostName, ...] = Field(
        (),
        strict=False,
        description="hosts that see this directory, where workers of several take runs; absent: all",
    )
    owners: tuple[Owner, ...] = Field(
        (), strict=False, description="whom Dagster shows as owners: e-mail addresses, or `team:name`"
    )
    tags: Tags = Field({}, description="tags in Dagster, to search and select by")
    url: Url | None = Field(None, description="where a browser finds this directory; a link in Dagster")
    expect: tuple[Expect, ...] = Field((), strict=False)

    @property
    def root(self) -> str:
        """What the path of each of its files begins with, spelled as text."""
        return _root(self.path)

    def takes(self, path: str) -> bool:
        """Whether a file of that path, relative to `root` and spelled as text, is one of its own."""
        directory, _, name = path.rpartition("/")
        if directory and not self.enters(directory):
            return False
        return not self.ignores(name) and (not self.patterns or matches_any(name, self.patterns))

    def enters(self, directory: str) -> bool:
        """Whether it looks into a directory of that relative path."""
        return self.recursive and not self.ignores(directory)

    def ignores(self, path: str) -> bool:
        """Whether a name in that relative path is one to be left alone."""
        names = filter(None, path.split("/"))
        return any(name == MARK or matches_any(name, self.ignore_patterns) for name in names)


class Archive(Section):
    """A destination of files."""

    name: Name = Field(description="unique; letters, digits, `_`, `-`, `.`")
    destination: Annotated[str, AfterValidator(check_template)] = Field(
        max_length=PATH_MAX,
        description="directory, as a template over the metadata; a relative one lies under `base_path`",
    )
    base_path: DirectoryPath | None = Field(
        None,
        description="nothing is ever written outside it; absent: `destination` up to its first placeholder",
    )
    action: Action = Field("copy", description="how files get there")
    create_directories: bool = Field(True, description="make directories that are missing")
    file_mode: FileMode = Field(0o640, description="mode of archived files")
    dir_mode: DirMode = Field(
        0o750, description="mode of directories made; setgid is kept where it is inherited"
    )
    on_conflict: OnConflict = Field(
        "error",
        description="other bytes at the destination: `error`, the group fails; `version`: `name.v2.ext`",
    )
    durability: Durability = Field(
        "batch",
        description="bytes are forced to the disk once per `batch`, after each `file`, or by the system",
    )
    verify: Verify = Field(
        "written", description="digest of the bytes as they are written, or of the durable file `read` back"
    )
    hosts: tuple[HostName, ...] = Field(
        (),
        strict=False,
        description="hosts that see this directory, where workers of several take runs; absent: all",
    )
    owners: tuple[Owner, ...] = Field(
        (), strict=False, description="whom Dagster shows as owners: e-mail addresses, or `team:name`"
    )
    tags: Tags = Field({}, description="tags in Dagster, to search and select by")
    url: Url | None = Field(None, description="where a browser finds this directory; a link in Dagster")

    @property
    def base(self) -> Path:
        """The directory that nothing leaves. Absolute once the file is loaded."""
        assert self.base_path is not None
        return self.base_path

    @property
    def root(self) -> str:
        """What the path of each of its files begins with, spelled as text."""
        return _root(self.base)

    def below(self, path: str) -> str:
        """The part of a path in it that `destination` does not name itself, spelled as text."""
        named = _root(constant_directory(self.destination))
        if named.startswith(f"{path}/"):
            return ""
        return path.removeprefix(named if path.startswith(named) else self.root)


@lru_cache(maxsize=1000)
def _root(directory: Path | str) -> str:
    return to_text(str(directory)).rstrip("/") + "/"
