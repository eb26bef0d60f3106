"""What tells files apart without the device number, which differs from host to host."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "core_0006"
down_revision: str | None = "core_0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COMPONENTS = sa.table("file_components", sa.column("inode", sa.String()))


def upgrade() -> None:
    inode = COMPONENTS.c.inode
    place = sa.func.strpos if op.get_bind().dialect.name == "postgresql" else sa.func.instr
    number = sa.func.substr(inode, place(inode, ":") + 1)
    op.execute(sa.update(COMPONENTS).where(inode.contains(":")).values(inode=number))


def downgrade() -> None:
    """An earlier release takes each file for changed, and compares its bytes."""
