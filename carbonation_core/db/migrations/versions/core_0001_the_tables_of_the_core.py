"""The tables of the core."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision: str = "core_0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = ("core",)
depends_on: str | Sequence[str] | None = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


# As long as there are tables: what a revision did is written once, and never changed.
def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("watch_name", sa.String(length=255), nullable=False),
        sa.Column("instance", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("rules_digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("holder", sa.String(length=255), nullable=True),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
    )
    op.create_index("ix_batches_watch_name_status", "batches", ["watch_name", "status"])

    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    op.create_table(
        "files",
        sa.Column("id", ID, nullable=False),
        sa.Column("watch_name", sa.String(length=255), nullable=False),
        sa.Column("file_type", sa.String(length=255), nullable=True),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("group_key_sha256", sa.String(length=64), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("archive_path", sa.Text(), nullable=True),
        sa.Column("archive_name", sa.String(length=255), nullable=True),
        sa.Column("archive_directory", sa.Text(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("reopened_at", TIME, nullable=True),
        sa.Column("completed_at", TIME, nullable=True),
        sa.Column("modified_at", TIME, nullable=False),
        sa.Column("retention_date", TIME, nullable=True),
        sa.Column("rules_digest", sa.String(length=64), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", TIME, nullable=True),
        sa.Column("deadline_at", TIME, nullable=True),
        sa.Column("timed_out_at", TIME, nullable=True),
        sa.Column("batch_id", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        sa.UniqueConstraint("watch_name", "group_key_sha256", name="uq_files_watch_name_group_key_sha256"),
    )
    op.create_index("ix_files_batch_id", "files", ["batch_id"])
    op.create_index("ix_files_watch_name_deadline_at", "files", ["watch_name", "deadline_at"])
    op.create_index("ix_files_watch_name_due_at", "files", ["watch_name", "due_at"])

    op.create_table(
        "rules_versions",
        sa.Column("id", ID, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rules_versions"),
    )
    op.create_index("ix_rules_versions_accepted_id", "rules_versions", ["accepted", "id"])

    op.create_table(
        "service_state",
        sa.Column("part", sa.String(length=255), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("last_heartbeat", TIME, nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("part", name="pk_service_state"),
    )
    op.create_table(
        "batch_groups",
        sa.Column("batch_id", sa.String(length=32), nullable=False),
        sa.Column("group_id", ID, nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=True),
        sa.Column("judged", sa.String(length=64), nullable=True),
        sa.Column("outcome", sa.String(length=32), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("archive_name", sa.String(length=255), nullable=True),
        sa.Column("archive_directory", sa.Text(), nullable=True),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_batch_groups_batch_id"),
        sa.ForeignKeyConstraint(["group_id"], ["files.id"], name="fk_batch_groups_group_id"),
        sa.PrimaryKeyConstraint("batch_id", "group_id", name="pk_batch_groups"),
    )
    op.create_index("ix_batch_groups_group_id", "batch_groups", ["group_id"])

    op.create_table(
        "feed",
        sa.Column("sequence", ID, autoincrement=False, nullable=False),
        sa.Column("group_id", ID, nullable=False),
        sa.Column("watch_name", sa.String(length=255), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["files.id"], name="fk_feed_group_id"),
        sa.PrimaryKeyConstraint("sequence", name="pk_feed"),
    )
    op.create_index("ix_feed_group_id", "feed", ["group_id"])
    op.create_index("ix_feed_watch_name_sequence", "feed", ["watch_name", "sequence"])

    op.create_table(
        "file_components",
        sa.Column("id", ID, nullable=False),
        sa.Column("watch_name", sa.String(length=255), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("source_path", sa.Text(), nullable=False),
        sa.Column("source_path_sha256", sa.String(length=64), nullable=False),
        sa.Column("archive_name", sa.String(length=255), nullable=True),
        sa.Column("archive_path", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("ctime_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.String(length=42), nullable=False),
        sa.Column("quiet_since", TIME, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("in_delivery", sa.Boolean(), nullable=False),
        sa.Column("in_archive", sa.Boolean(), nullable=False),
        sa.Column("group_id", ID, nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("retry_at", TIME, nullable=True),
        sa.Column("last_retry_at", TIME, nullable=True),
        sa.Column("detected_at", TIME, nullable=False),
        sa.Column("archived_at", TIME, nullable=True),
        sa.Column("cleared_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["files.id"], name="fk_file_components_group_id"),
        sa.PrimaryKeyConstraint("id", name="pk_file_components"),
        sa.UniqueConstraint(
            "watch_name", "source_path_sha256", name="uq_file_components_watch_name_source_path_sha256"
        ),
    )
    op.create_index("ix_file_components_group_id", "file_components", ["group_id"])
    op.create_index("ix_file_components_watch_name_status", "file_components", ["watch_name", "status"])

    op.create_table(
        "archive_copies",
        sa.Column("id", ID, nullable=False),
        sa.Column("component_id", ID, nullable=False),
        sa.Column("archive_name", sa.String(length=255), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("path_key", sa.String(length=64), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("copied_at", TIME, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("superseded_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["component_id"], ["file_components.id"], name="fk_archive_copies_component_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_archive_copies"),
        sa.UniqueConstraint("path_key", name="uq_archive_copies_path_key"),
    )
    op.create_index("ix_archive_copies_component_id", "archive_copies", ["component_id"])

    op.create_table(
        "status_changes",
        sa.Column("id", ID, nullable=False),
        sa.Column("component_id", ID, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("from_status", sa.String(length=32), nullable=True),
        sa.Column("to_status", sa.String(length=32), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["component_id"], ["file_components.id"], name="fk_status_changes_component_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_status_changes"),
    )
    op.create_index("ix_status_changes_at", "status_changes", ["at"])
    op.create_index("ix_status_changes_component_id", "status_changes", ["component_id"])


def downgrade() -> None:
    op.drop_index("ix_status_changes_component_id", "status_changes")
    op.drop_index("ix_status_changes_at", "status_changes")

    op.drop_table("status_changes")
    op.drop_index("ix_archive_copies_component_id", "archive_copies")

    op.drop_table("archive_copies")
    op.drop_index("ix_file_components_watch_name_status", "file_components")
    op.drop_index("ix_file_components_group_id", "file_components")

    op.drop_table("file_components")
    op.drop_index("ix_feed_watch_name_sequence", "feed")
    op.drop_index("ix_feed_group_id", "feed")

    op.drop_table("feed")
    op.drop_index("ix_batch_groups_group_id", "batch_groups")

    op.drop_table("batch_groups")
    op.drop_table("service_state")
    op.drop_index("ix_rules_versions_accepted_id", "rules_versions")

    op.drop_table("rules_versions")
    op.drop_index("ix_files_watch_name_due_at", "files")
    op.drop_index("ix_files_watch_name_deadline_at", "files")
    op.drop_index("ix_files_batch_id", "files")

    op.drop_table("files")
    op.drop_table("counters")
    op.drop_index("ix_batches_watch_name_status", "batches")

    op.drop_table("batches")
