"""Which configuration holds at a site while its service runs: the one that this has accepted.

A process that has another, as config.toml was changed since it read it, or was not copied
to its host, begins nothing: its groups would go where they are to go no more.
"""

from carbonation_core.db import service
from carbonation_core.db.engine import Connection, reading, repeatable, writing
from carbonation_core.db.locks import lock_watch
from carbonation_core.process import host_name
from carbonation_core.project import Project


@repeatable
def accept(project: Project) -> None:
    """Have the configuration of this project hold at its site, whose service this process is."""
    config, names = project.config, [watch.name for watch in project.config.watch]
    with writing(project.engine) as connection:
        digest, now = project.fingerprint.config_digest or "", project.clock()
        service.accept(connection, config.service.site_name, digest, names, host_name(), now)
    for name in names:
        # Whoever begins something at this moment has done so then, or sees what was accepted.
        with writing(project.engine) as connection:
            lock_watch(connection, name)


def superseded(project: Project, connection: Connection, watch_name: str) -> str | None:
    """Why this process begins nothing of the watch; None: it may, as far as the configuration goes.

    It stays so till the end of the transaction if that has the lock of the watch.
    """
    site, digest = project.config.service.site_name, project.fingerprint.config_digest or ""
    host = service.accepted_on(connection, site, digest, watch_name, project.clock())
    if host is None:
        return None
    return (
        f"the service of site {site} on host {host} has accepted another configuration than a process "
        f"on host {host_name()} has"
    )


def is_superseded(project: Project, watch_name: str) -> bool:
    """Whether the service of this site has accepted another configuration for the watch."""
    with reading(project.engine) as connection:
        return superseded(project, connection, watch_name) is not None
