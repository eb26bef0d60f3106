"""Which rules a site has accepted, and how many versions there are."""

from sqlalchemy import func, select

from carbonation_core.db.engine import reading
from carbonation_core.db.models import RulesVersion
from carbonation_core.project import rules_accepted
from tests.site import Site


def versions(site: Site) -> int:
    """How many there are, of all sites."""
    with reading(site.project.engine) as connection:
        return connection.execute(select(func.count()).select_from(RulesVersion)).scalar_one()


def accepted(site: Site) -> str | None:
    """The text of those in force."""
    with reading(site.project.engine) as connection:
        found = rules_accepted(site.project, connection)
    return None if found is None else found.text
