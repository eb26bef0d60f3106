"""Sums beside the rows, and since when a component has its status."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision: str = "core_0003"
down_revision: str | None = "core_0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
SINCE = """
    UPDATE file_components SET status_since =
    (SELECT max(at) FROM status_changes WHERE status_changes.component_id = file_components.id)
"""
INTO = "INSERT INTO tallies (watch_name, name, value) SELECT watch_name, {0}, {1}"
OF_COMPONENTS, OF_GROUPS = f"{INTO} FROM file_components", f"{INTO} FROM files"
SUMS = (
    OF_COMPONENTS.format("status", "count(*)") + " GROUP BY watch_name, status",
    OF_COMPONENTS.format("'in_delivery'", "sum(CASE WHEN in_delivery THEN 1 ELSE 0 END)")
    + " GROUP BY watch_name",
    OF_COMPONENTS.format("'in_archive'", "sum(CASE WHEN in_archive THEN 1 ELSE 0 END)")
    + " GROUP BY watch_name",
    OF_COMPONENTS.format("'archived_bytes'", "sum(CASE WHEN in_archive THEN size_bytes ELSE 0 END)")
    + " GROUP BY watch_name",
    OF_GROUPS.format("'groups'", "count(*)") + " GROUP BY watch_name",
    OF_GROUPS.format("'complete_groups'", "sum(CASE WHEN complete THEN 1 ELSE 0 END)")
    + " GROUP BY watch_name",
)


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("watch_name", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("watch_name", "name", name="pk_tallies"),
    )
    op.execute("DELETE FROM tallies")  # of an upgrade that was interrupted, on MariaDB
    for statement in SUMS:
        op.execute(statement)
    op.add_column("file_components", sa.Column("status_since", TIME, nullable=True))
    op.execute(SINCE)
    op.create_index("ix_file_components_status_since_status", "file_components", ["status_since", "status"])
    # What people ask for most: a group by its key, of whatever watch, and the newest.
    op.create_index("ix_files_group_key_sha256", "files", ["group_key_sha256"])
    op.create_index("ix_files_created_at", "files", ["created_at"])
    # An archive that holds nothing is found out without a look at all the others.
    op.create_index("ix_archive_copies_archive_name", "archive_copies", ["archive_name"])


def downgrade() -> None:
    op.drop_index("ix_archive_copies_archive_name", "archive_copies")
    op.drop_index("ix_files_created_at", "files")
    op.drop_index("ix_files_group_key_sha256", "files")
    op.drop_index("ix_file_components_status_since_status", "file_components")
    op.drop_column("file_components", "status_since")
    op.drop_table("tallies")
