"""The columns that this plugin adds to table `files`.

A new column goes here and into a new revision in `migrations/`, which
`carbonation db revision --autogenerate -m "what is new"` writes. Every column
is nullable: a group has its row before it has metadata.
"""

from datetime import datetime

from sqlalchemy import Boolean, Double, Text
from sqlalchemy.orm import Mapped, mapped_column

from carbonation_core import FileBase


class File(FileBase):
    """One delivery of the instrument."""

    __tablename__ = "files"

    instrument: Mapped[str | None] = mapped_column(Text)
    start: Mapped[datetime | None]  # kept in UTC; FileBase gives the column type
    stop: Mapped[datetime | None]
    quality: Mapped[float | None] = mapped_column(Double)  # Float would be of 32 bits on MariaDB
    calibrated: Mapped[bool | None] = mapped_column(Boolean)
