"""Expected arrivals, and what the feed tells of them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision: str = "core_0009"
down_revision: str | None = "core_0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
INDEXES = (["watch_name", "at"], ["watch_name", "due_at"], ["watch_name", "group_key_sha256"], ["group_id"])


def upgrade() -> None:
    op.create_table(
        "arrivals",
        sa.Column("id", ID, nullable=False),
        sa.Column("watch_name", sa.String(length=255), nullable=False),
        sa.Column("expectation", sa.String(length=255), nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("opens_at", TIME, nullable=True),
        sa.Column("late_at", TIME, nullable=True),
        sa.Column("missed_at", TIME, nullable=True),
        sa.Column("group_key", sa.Text(), nullable=True),
        sa.Column("group_key_sha256", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("due_at", TIME, nullable=True),
        sa.Column("group_id", ID, nullable=True),
        sa.Column("arrived_at", TIME, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["files.id"], name="fk_arrivals_group_id"),
        sa.PrimaryKeyConstraint("id", name="pk_arrivals"),
        sa.UniqueConstraint("watch_name", "expectation", "at", name="uq_arrivals_watch_name_expectation_at"),
    )
    for columns in INDEXES:
        op.create_index(f"ix_arrivals_{'_'.join(columns)}", "arrivals", columns)
    with op.batch_alter_table("feed") as feed:
        feed.alter_column("group_id", existing_type=ID, nullable=True)
        feed.add_column(sa.Column("arrival_id", ID, nullable=True))
        feed.create_foreign_key("fk_feed_arrival_id", "arrivals", ["arrival_id"], ["id"])
        feed.create_index("ix_feed_arrival_id", ["arrival_id"])


def downgrade() -> None:
    # What was told of arrivals keeps its place, since a cursor may stand on it: it becomes the group's
    # news, or that of any group of the watch, which is told anew.
    op.execute(
        "UPDATE feed SET event = 'updated', group_id = COALESCE(group_id, (SELECT min(id) FROM files "
        "WHERE files.watch_name = feed.watch_name)) WHERE arrival_id IS NOT NULL"
    )
    op.execute("DELETE FROM feed WHERE group_id IS NULL")
    with op.batch_alter_table("feed") as feed:
        feed.drop_constraint("fk_feed_arrival_id", type_="foreignkey")
        feed.drop_index("ix_feed_arrival_id")
        feed.drop_column("arrival_id")
        feed.alter_column("group_id", existing_type=ID, nullable=False)
    op.drop_table("arrivals")
