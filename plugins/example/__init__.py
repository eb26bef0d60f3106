"""What an instrument delivers: a data file, and a JSON file beside it that describes it."""

from pathlib import Path

from carbonation_core import Plugin, QueryDefaults

from .extractors import sidecar
from .model import File
from .rules import good_enough

__all__ = ["plugin"]

plugin = Plugin(
    file_model=File,
    extractors={"sidecar": sidecar},
    selection_functions={"good_enough": good_enough},
    migrations_path=Path(__file__).parent / "migrations",
    query_defaults=QueryDefaults(order_by="-start"),
)
