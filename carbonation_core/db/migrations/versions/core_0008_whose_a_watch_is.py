"""Whose each watch is: a site's, and a directory's."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision: str = "core_0008"
down_revision: str | None = "core_0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "watches",
        sa.Column("watch_name", sa.String(length=255), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("mark", sa.String(length=32), nullable=True),
        sa.Column("host", sa.String(length=64), nullable=False),
        sa.Column("file_system", sa.String(length=20), nullable=False),
        sa.Column("inode", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("watch_name", name="pk_watches"),
    )


def downgrade() -> None:
    op.drop_table("watches")
