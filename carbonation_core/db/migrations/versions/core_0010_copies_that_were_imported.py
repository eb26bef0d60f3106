"""Copies that were imported, whose digests nobody has read."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "core_0010"
down_revision: str | None = "core_0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("archive_copies") as copies:
        copies.alter_column("digest", existing_type=sa.String(length=64), nullable=True)


def downgrade() -> None:
    # One that no bytes have, so that the file is compared with nothing and never taken for the same.
    op.execute("UPDATE archive_copies SET digest = '' WHERE digest IS NULL")
    with op.batch_alter_table("archive_copies") as copies:
        copies.alter_column("digest", existing_type=sa.String(length=64), nullable=False)
