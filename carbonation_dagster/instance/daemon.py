"""Dagster's daemon, whose loop asks for ticks twice a second instead of every five.

Dagster reads the constant at each turn. If it is gone, five seconds it is.
"""

import logging

from dagster._daemon import sensor
from dagster._daemon.cli import main

LOOP = 0.5  # seconds
CONSTANT = "MIN_INTERVAL_LOOP_TIME"

log = logging.getLogger("carbonation_dagster.instance.daemon")  # it may be __main__


def hasten() -> None:
    """Shorten the loop of sensors, where Dagster still lets it be shortened."""
    if hasattr(sensor, CONSTANT):
        setattr(sensor, CONSTANT, LOOP)
    else:
        log.warning("this release of Dagster asks for ticks at a pace of its own")


if __name__ == "__main__":
    hasten()
    main()
