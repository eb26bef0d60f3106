"""A token for each entry of the feed."""

import hashlib
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision: str = "core_0005"
down_revision: str | None = "core_0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
FEED = sa.table(
    "feed",
    sa.column("sequence", sa.BigInteger()),
    sa.column("group_id", sa.BigInteger()),
    sa.column("event", sa.String()),
    sa.column("at", TIME),
    sa.column("token", sa.String()),
)
PAGE = 1000


def upgrade() -> None:
    op.add_column("feed", sa.Column("token", sa.String(length=16), nullable=True))
    # From what they are, so that a copy made before, restored and upgraded, has the same.
    connection, last = op.get_bind(), 0
    page = sa.select(FEED.c.sequence, FEED.c.group_id, FEED.c.event, FEED.c.at).order_by(FEED.c.sequence)
    fill = sa.update(FEED).where(FEED.c.sequence == sa.bindparam("number")).values(token=sa.bindparam("its"))
    while rows := connection.execute(page.where(FEED.c.sequence > last).limit(PAGE)).all():
        connection.execute(fill, [{"number": row.sequence, "its": _token(*row)} for row in rows])
        last = rows[-1].sequence


def _token(*row: object) -> str:
    return hashlib.sha256(" ".join(map(str, row)).encode()).hexdigest()[:16]


def downgrade() -> None:
    op.drop_column("feed", "token")
