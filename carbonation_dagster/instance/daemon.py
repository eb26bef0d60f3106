"""Dagster's daemon, whose loop asks for ticks twice a second instead of every five.

Dagster reads the constant at each turn. If it is gone, five seconds it is. Likewise
it goes by the time alone when it calls a run lost that has not begun; here a launcher
that knows better is asked: a run may wait in a queue for as long as workers are busy.
"""

import logging
from datetime import timedelta

import dagster as dg
from dagster._core.storage.dagster_run import RunRecord
from dagster._daemon import sensor
from dagster._daemon.cli import main
from dagster._daemon.monitoring import run_monitoring

LOOP = 0.5  # seconds
CONSTANT = "MIN_INTERVAL_LOOP_TIME"
JUDGE = "monitor_starting_run"

log = logging.getLogger("carbonation_dagster.instance.daemon")  # it may be __main__


def hasten() -> None:
    """Shorten the loop of sensors, where Dagster still lets it be shortened."""
    if hasattr(sensor, CONSTANT):
        setattr(sensor, CONSTANT, LOOP)
    else:
        log.warning("this release of Dagster asks for ticks at a pace of its own")


def ask_launchers() -> None:
    """Have a run that has not begun be judged by its launcher, where Dagster still lets it be."""
    by_time = getattr(run_monitoring, JUDGE, None)
    if by_time is None:
        log.warning("this release of Dagster judges runs that wait in a queue by itself")
        return

    def judge(instance: dg.DagsterInstance, record: RunRecord, logger: logging.Logger) -> None:
        why_lost = getattr(instance.run_launcher, "why_lost", None)
        run = instance.get_run_by_id(record.dagster_run.run_id)
        if why_lost is None or run is None or run.status is dg.DagsterRunStatus.NOT_STARTED:
            by_time(instance, record, logger)
        elif run.status is dg.DagsterRunStatus.STARTING:
            longest = timedelta(seconds=instance.run_monitoring_start_timeout_seconds)
            if (why := why_lost(run, longest)) is not None:
                logger.info("run %s will not begin: %s", run.run_id, why)
                instance.report_run_failed(run, f"The run did not begin: {why}")

    setattr(run_monitoring, JUDGE, judge)


if __name__ == "__main__":
    hasten()
    ask_launchers()
    main()
