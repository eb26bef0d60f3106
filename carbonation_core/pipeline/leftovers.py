"""What a dead batch has left where whoever gave it back could not look, as not every host sees every archive.

The next batch that has its groups, on a host that sees their archive, takes it back.
"""

from collections.abc import Sequence

from carbonation_core.db import batches
from carbonation_core.db.engine import reading
from carbonation_core.lifecycle import Outcome
from carbonation_core.pipeline.context import OpenGroup, StageContext
from carbonation_core.pipeline.rollback import take_back
from carbonation_core.rules.hosts import are_named


def take_up(context: StageContext, batch_id: str, opened: Sequence[OpenGroup]) -> None:
    """Clear what earlier batches of these groups have left in the archive.

    A source of which a link is removed by that has another ctime, and settles anew.
    """
    if not are_named(context.project.config):
        return  # who gave the batch back has looked
    with reading(context.project.engine) as connection:
        died = batches.given_back(connection, batch_id, [group.id for group in opened])
        for earlier, members in died.items():
            # What none had recorded when it was given back is withdrawn.
            take_back(
                connection,
                earlier,
                [one._replace(outcome=None) if one.outcome == Outcome.GIVEN_BACK else one for one in members],
            )
