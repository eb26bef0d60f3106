"""What a batch was made with, by which site, and the host that works on it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "core_0011"
down_revision: str | None = "core_0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COLUMNS = ("config_digest", "release", "plugin_digest", "site", "host")


def upgrade() -> None:
    with op.batch_alter_table("batches") as batches:
        for name in COLUMNS:
            batches.add_column(sa.Column(name, sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("batches") as batches:
        for name in reversed(COLUMNS):
            batches.drop_column(name)
