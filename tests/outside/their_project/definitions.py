"""With `CarbonationComponent`: defs/station/defs.yaml names it, and Dagster finds it there."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """All that lies below defs/."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
