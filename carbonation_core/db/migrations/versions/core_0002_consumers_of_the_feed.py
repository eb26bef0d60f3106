"""Consumers of the feed."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision: str = "core_0002"
down_revision: str | None = "core_0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "consumers",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("watch_name", sa.String(length=255), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("acked_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_consumers"),
    )
    # The lock under which consumers are made; there from the beginning, so
    # that no two processes make it at once.
    op.execute("INSERT INTO counters (name, value) VALUES ('consumers', 0)")


def downgrade() -> None:
    op.execute("DELETE FROM counters WHERE name = 'consumers'")
    op.drop_table("consumers")
