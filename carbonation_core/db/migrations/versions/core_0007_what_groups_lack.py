"""What a group was archived without, and which files a delivered manifest lists."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "core_0007"
down_revision: str | None = "core_0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("files", sa.Column("lacks", sa.Text(), nullable=True))
    op.add_column("file_components", sa.Column("lists", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("file_components", "lists")
    op.drop_column("files", "lacks")
