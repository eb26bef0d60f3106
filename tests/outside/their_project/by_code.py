"""With `build_defs`, merged into the project's own definitions."""

from pathlib import Path

import dagster as dg

from carbonation_dagster import build_defs

from .report import report

STATION = Path(__file__).parents[1] / "station"

defs = dg.Definitions.merge(
    build_defs(STATION / "config.toml"),
    dg.Definitions(assets=[report], executor=dg.in_process_executor),
)
