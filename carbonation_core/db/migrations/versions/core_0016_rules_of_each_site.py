"""Versions of rules.toml by site."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "core_0016"
down_revision: str | None = "core_0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLE = "rules_versions"
SITE = sa.String(length=64)


def upgrade() -> None:
    with op.batch_alter_table(TABLE) as table:
        table.add_column(sa.Column("site", SITE, nullable=False, server_default=""))
    # Of several sites nobody knows any more whose a version was: it stays everybody's.
    op.execute(
        "UPDATE rules_versions SET site = (SELECT MIN(site) FROM watches) "
        "WHERE (SELECT COUNT(DISTINCT site) FROM watches) = 1"
    )
    with op.batch_alter_table(TABLE) as table:
        table.alter_column("site", existing_type=SITE, existing_nullable=False, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table(TABLE) as table:
        table.drop_column("site")
