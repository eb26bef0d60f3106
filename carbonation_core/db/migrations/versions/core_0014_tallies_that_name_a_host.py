"""Tallies that name a host."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "core_0014"
down_revision: str | None = "core_0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SHORT, LONG = sa.String(length=32), sa.String(length=128)


def upgrade() -> None:
    with op.batch_alter_table("tallies") as table:
        table.alter_column("name", existing_type=SHORT, type_=LONG, existing_nullable=False)


def downgrade() -> None:
    op.execute("DELETE FROM tallies WHERE length(name) > 32")
    with op.batch_alter_table("tallies") as table:
        table.alter_column("name", existing_type=LONG, type_=SHORT, existing_nullable=False)
