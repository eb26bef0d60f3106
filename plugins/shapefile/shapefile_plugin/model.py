"""The columns that this plugin adds to table `files`."""

from sqlalchemy import JSON, Double, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from carbonation_core import FileBase


class File(FileBase):
    """One shapefile. The four bounds are in units of its CRS, and absent when it has no features."""

    __tablename__ = "files"

    geometry: Mapped[str | None] = mapped_column(String(16))  # such as point, polygon, polylinez
    feature_count: Mapped[int | None] = mapped_column(Integer)
    min_x: Mapped[float | None] = mapped_column(Double)
    min_y: Mapped[float | None] = mapped_column(Double)
    max_x: Mapped[float | None] = mapped_column(Double)
    max_y: Mapped[float | None] = mapped_column(Double)
    field_names: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    crs: Mapped[str | None] = mapped_column(Text)  # name of it; absent without a .prj
