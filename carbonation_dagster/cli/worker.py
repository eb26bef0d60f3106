"""`carbonation worker`: executes runs of a service on this host, beside others."""

import logging
import os
import sys
from contextlib import closing

import click

from carbonation_dagster.cli.commands import Command

log = logging.getLogger(__name__)


@click.command(cls=Command, examples=("carbonation worker", "carbonation worker --slots 4"))
@click.option("--slots", type=click.IntRange(1, 1000), help="Runs at a time; else as many as cores.")
@click.option("--forget", metavar="HOST", help="Only forget the worker of a host that is gone for good.")
@click.pass_obj
def worker(config: str | None, slots: int | None, forget: str | None) -> None:
    """Execute runs that a service puts into a queue, on this host: one of many.

    The broker is that of dagster.yaml in DAGSTER_HOME. SIGTERM ends it after the runs in hand; SIGHUP, and
    another config.toml, plugin or release, have it begin anew after them.
    """
    from carbonation_core.errors import CarbonationError
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.environment import DAGSTER_HOME
    from carbonation_dagster.logs.stream import ServiceLog

    if forget is not None:
        from carbonation_core.reports import workers

        workers.forget(open_project(config), forget)
        click.echo(f"FORGOTTEN the worker of host {forget}")
        return
    if DAGSTER_HOME not in os.environ:
        raise click.UsageError(
            f"{DAGSTER_HOME} should name a directory with a dagster.yaml that has the broker"
        )
    project = open_project(config, as_service=True)
    try:
        from carbonation_dagster.service.queue_worker import serve
    except ModuleNotFoundError as error:
        raise CarbonationError(
            f"{error.name} is not installed; pip install 'carbonation-dagster[celery]' brings it"
        ) from error
    with closing(ServiceLog(project.config)) as service_log:
        try:
            worked = serve(project, slots or len(os.sched_getaffinity(0)), service_log)
        except CarbonationError as error:
            log.error("%s", error)  # a sentence is all there is to say
            sys.exit(1)
    if worked.begins_anew:
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # ourselves
    sys.exit(1 if worked.has_lost_its_name else worked.exitcode)
