"""Who wrote a version of rules.toml, when, and who read it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision: str = "core_0004"
down_revision: str | None = "core_0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.add_column("rules_versions", sa.Column("written_by", sa.String(length=255), nullable=True))
    op.add_column("rules_versions", sa.Column("written_at", TIME, nullable=True))
    op.add_column("rules_versions", sa.Column("read_by", sa.String(length=255), nullable=True))


def downgrade() -> None:
    op.drop_column("rules_versions", "read_by")
    op.drop_column("rules_versions", "written_at")
    op.drop_column("rules_versions", "written_by")
