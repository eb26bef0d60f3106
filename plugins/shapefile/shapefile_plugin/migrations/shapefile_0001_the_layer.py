"""The layer: its geometry, extent, fields and CRS."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "shapefile_0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = ("shapefile",)
depends_on: str | Sequence[str] | None = ("core",)


def upgrade() -> None:
    op.add_column("files", sa.Column("geometry", sa.String(length=16), nullable=True))
    op.add_column("files", sa.Column("feature_count", sa.Integer(), nullable=True))
    op.add_column("files", sa.Column("min_x", sa.Double(), nullable=True))
    op.add_column("files", sa.Column("min_y", sa.Double(), nullable=True))
    op.add_column("files", sa.Column("max_x", sa.Double(), nullable=True))
    op.add_column("files", sa.Column("max_y", sa.Double(), nullable=True))
    op.add_column("files", sa.Column("field_names", sa.JSON(), nullable=True))
    op.add_column("files", sa.Column("crs", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("files", "crs")
    op.drop_column("files", "field_names")
    op.drop_column("files", "max_y")
    op.drop_column("files", "max_x")
    op.drop_column("files", "min_y")
    op.drop_column("files", "min_x")
    op.drop_column("files", "feature_count")
    op.drop_column("files", "geometry")
