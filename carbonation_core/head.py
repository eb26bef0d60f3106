"""The head of a site: of several services with its name the one that works, by a lease in the database.

SQLite serves one host, on which a project has one service anyway: there is no lease.
"""

from carbonation_core.db import locks
from carbonation_core.db.engine import reading, repeatable, writing
from carbonation_core.db.locks import Held
from carbonation_core.project import Project

LEASE = locks.HEAD_LEASE


def has_lease(project: Project) -> bool:
    """Whether services of several hosts may share this database."""
    return project.engine.dialect.name != "sqlite"


def current(project: Project) -> Held | None:
    """The head of this project's site; None where nobody is, or none is needed."""
    with reading(project.engine) as connection:
        return locks.lease(connection, _name(project), LEASE)


@repeatable
def hold(project: Project, holder: str) -> Held:
    """Have that process be the head for another `LEASE` from now on, unless another one is; who is."""
    now = current(project)
    if now is not None and now.holder != holder:
        return now  # without a word that is written: whoever waits asks often
    with writing(project.engine) as connection:
        return locks.hold(connection, _name(project), holder, LEASE)


@repeatable
def let_go(project: Project, holder: str) -> None:
    """Have another be the head, if that process is it."""
    with writing(project.engine) as connection:
        locks.let_go(connection, _name(project), holder)


def _name(project: Project) -> str:
    return locks.lease_of_head(project.config.service.site_name)
