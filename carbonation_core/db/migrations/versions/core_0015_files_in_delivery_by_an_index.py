"""Files in delivery are found by an index, however many have left it."""

from collections.abc import Sequence

from alembic import op

revision: str = "core_0015"
down_revision: str | None = "core_0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLE = "file_components"
BEFORE, AFTER = ["watch_name", "status"], ["watch_name", "status", "in_delivery"]


def upgrade() -> None:
    _exchange(BEFORE, AFTER)


def downgrade() -> None:
    _exchange(AFTER, BEFORE)


def _exchange(before: list[str], after: list[str]) -> None:
    op.create_index("_".join(("ix", TABLE, *after)), TABLE, after)
    op.drop_index("_".join(("ix", TABLE, *before)), TABLE)
