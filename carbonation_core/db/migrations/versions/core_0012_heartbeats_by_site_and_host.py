"""Heartbeats by site and host."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "core_0012"
down_revision: str | None = "core_0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLE, KEY = "service_state", "pk_service_state"


def upgrade() -> None:
    with op.batch_alter_table(TABLE) as table:
        for name in ("site", "host"):
            table.add_column(sa.Column(name, sa.String(length=64), nullable=False, server_default=""))
    _key("site", "host", "part")
    with op.batch_alter_table(TABLE) as table:
        for name in ("site", "host"):
            table.alter_column(
                name, existing_type=sa.String(length=64), existing_nullable=False, server_default=None
            )


def downgrade() -> None:
    op.execute("DELETE FROM service_state WHERE site <> ''")
    _key("part")
    with op.batch_alter_table(TABLE) as table:
        for name in ("host", "site"):
            table.drop_column(name)


def _key(*columns: str) -> None:
    with op.batch_alter_table(TABLE) as table:
        table.drop_constraint(KEY, type_="primary")
        table.create_primary_key(KEY, list(columns))
