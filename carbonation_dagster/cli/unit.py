"""The unit under which systemd runs the service of a project, or one of its workers."""

import sys
from pathlib import Path
from typing import Literal

from carbonation_core.config.loading import Config
from carbonation_core.rules.lint import WATCHDOG

Role = Literal["head", "worker"]
HOME, ENVIRONMENT_FILE = (
    "dagster",
    "environment",
)  # in the project; DAGSTER_HOME, where a queue is between hosts

TEMPLATE = """\
# Written by `carbonation init --systemd`. To install it:
#   cp {name}.service /etc/systemd/system/ && systemctl daemon-reload
#   systemctl enable --now {name}
[Unit]
Description={description}
Wants=network-online.target
After=network-online.target remote-fs.target postgresql.service mariadb.service
RequiresMountsFor={mounts}

[Service]
Type=notify
User={user}
WorkingDirectory={directory}
{environment}ExecStart={program} -c {config} {command}
# Reads config.toml, rules.toml and the plugin again.
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=10
{times}KillMode=mixed
UMask=0027

NoNewPrivileges=yes
{capabilities}ProtectSystem=strict
ReadWritePaths={writable}
{private_tmp}PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


OF_SERVICE = """\
# At least twice heartbeat_interval.
WatchdogSec={watchdog}
TimeoutStartSec=300
# It takes 20 s at most; its parts are ended by itself, in order.
TimeoutStopSec=30
"""
OF_WORKER = """\
TimeoutStartSec=300
# Runs in hand go on to their end; what is left then is given back by others.
TimeoutStopSec=900
"""
ENVIRONMENT = """\
Environment={home}
# Broker, and Dagster's database.
EnvironmentFile={file}
"""


def name_of(role: Role | None) -> str:
    """What the unit is called."""
    return "carbonation-worker" if role == "worker" else "carbonation"


def unit(config: Config, user: str, role: Role | None = None) -> str:
    """The text of the unit, for the `carbonation` of this environment.

    `role` is that of this host where several work for the site; without one it works alone.
    """
    is_worker = role == "worker"
    home = config.directory / HOME
    times = OF_WORKER if is_worker else OF_SERVICE.format(watchdog=int(WATCHDOG.total_seconds()))
    written = _written(config)
    in_tmp = any(path.is_relative_to(tmp) for path in written for tmp in ("/tmp", "/var/tmp"))  # noqa: S108
    return TEMPLATE.format(
        name=name_of(role),
        description=f"{'Carbonation worker' if is_worker else 'Carbonation'} of {_plain(config.directory)}",
        mounts=" ".join(_quoted(str(path)) for path in written),
        user=user,
        directory=_plain(config.directory),
        program=_argument(_program()),
        config=_argument(config.path),
        command="worker" if is_worker else "run",
        environment=""
        if role is None
        else ENVIRONMENT.format(home=_quoted(f"DAGSTER_HOME={home}"), file=_plain(home / ENVIRONMENT_FILE)),
        times=times,
        # Root without capabilities could read no other user's files.
        capabilities="" if user == "root" else "CapabilityBoundingSet=\n",
        # A place that is missing must not keep the service from starting: it says so better.
        writable=" ".join(_quoted(f"-{path}") for path in written),
        # Deliveries there would be out of its sight.
        private_tmp="" if in_tmp else "PrivateTmp=yes\n",
    )


def _plain(path: Path) -> str:
    """A path that has a line to itself: only `%` means something there (systemd.unit(5))."""
    return str(path).replace("%", "%%")


def _quoted(text: str) -> str:
    """A text among others on a line (systemd.syntax(7))."""
    text = text.replace("%", "%%")
    if not set(text) & set(" \t\"'\\;"):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _argument(path: Path) -> str:
    """A word of a command line, where `$` means something, too (systemd.service(5))."""
    return _quoted(str(path)).replace("$", "$$")


def _written(config: Config) -> list[Path]:
    """Directories that the service writes to, none of them inside another."""
    paths = {config.directory}  # its `.dagster`, and SQLite's files
    paths |= {watch.path for watch in config.watch} | {archive.base for archive in config.archive}
    if config.database.drivername == "sqlite":
        paths.add(Path(config.database.name).parent)
    if config.logging.file is not None:
        paths.add(config.logging.file.parent)
    return sorted(path for path in paths if not paths & set(path.parents))


def _program() -> Path:
    beside = Path(sys.executable).with_name("carbonation")
    return beside if beside.exists() else Path(sys.argv[0]).absolute()
