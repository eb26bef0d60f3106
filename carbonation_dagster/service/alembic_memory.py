"""A process that opens Dagster's storage at each tick does not grow by it.

Dagster opens its instance anew for every tick of a sensor and every run it
starts, and each of its three storages has Alembic look up where its migration
scripts lie. Alembic registers something at each look that is done when the
process ends, and kept until then: 4 kB a tick, which is some 15 MB a day for
every watch. (`alembic.util.pyfiles.coerce_resource_to_filename` of Alembic 1.20.)
"""

import functools

from alembic import util

_NAME = "coerce_resource_to_filename"


def locate_scripts_once() -> None:
    """Have Alembic remember where scripts lie; where it has no such function any more, all is as it was."""
    look_up = getattr(util, _NAME, None)
    if look_up is not None and not hasattr(look_up, "cache_info"):
        setattr(util, _NAME, functools.cache(look_up))
