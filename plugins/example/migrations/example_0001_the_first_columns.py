"""The first columns."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision: str = "example_0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = ("example",)
depends_on: str | Sequence[str] | None = ("core",)  # which makes the table

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.add_column("files", sa.Column("instrument", sa.Text(), nullable=True))
    op.add_column("files", sa.Column("start", TIME, nullable=True))
    op.add_column("files", sa.Column("stop", TIME, nullable=True))
    op.add_column("files", sa.Column("quality", sa.Double(), nullable=True))
    op.add_column("files", sa.Column("calibrated", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.drop_column("files", "calibrated")
    op.drop_column("files", "quality")
    op.drop_column("files", "stop")
    op.drop_column("files", "start")
    op.drop_column("files", "instrument")
