"""The code location of Carbonation: `dagster … -m carbonation_dagster.definitions`."""

import dagster as dg

from carbonation_dagster.assembly import build_defs
from carbonation_dagster.logs.sender import begin_as_part
from carbonation_dagster.service.alembic_memory import locate_scripts_once

begin_as_part()
locate_scripts_once()
# A process per op would cost six times as much; ops hand on through the database.
defs = dg.Definitions.merge(build_defs(), dg.Definitions(executor=dg.in_process_executor))
