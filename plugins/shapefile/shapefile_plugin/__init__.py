"""Shapefiles: one geometry layer in several files of one stem."""

from pathlib import Path

from carbonation_core import Plugin, QueryDefaults

from .extractors import layer
from .model import File

__all__ = ["plugin"]

plugin = Plugin(
    file_model=File,
    extractors={"layer": layer},
    migrations_path=Path(__file__).parent / "migrations",
    query_defaults=QueryDefaults(
        columns=("group_key", "geometry", "feature_count", "crs", "complete", "archive_path")
    ),
)
