"""`carbonation run`: the service, one pass, or what would happen."""

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from ipaddress import ip_address
from types import FrameType
from typing import TYPE_CHECKING

import click

from carbonation_core.text import counted
from carbonation_dagster.cli.commands import Command

if TYPE_CHECKING:
    from carbonation_core.config.loading import Config
    from carbonation_core.project import Progress, Project
    from carbonation_core.reports.preview import Preview
    from carbonation_dagster.one_pass import Pass

log = logging.getLogger(__name__)


@click.command(
    cls=Command,
    examples=("carbonation run", "carbonation run --once", "carbonation run --dry-run"),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the web UI listens.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the web UI."
)
@click.option("--no-ui", is_flag=True, help="Without the web UI.")
@click.option("--once", is_flag=True, help="One pass over all watches in this process, then end.")
@click.option("--dry-run", is_flag=True, help="Say what would happen to each group; write nothing.")
@click.option("-q", "--quiet", is_flag=True, help="With --once: only warnings and errors.")
@click.option("-v", "--verbose", is_flag=True, help="With --once: lines from DEBUG on, and no bar.")
@click.pass_obj
def run(
    config: str | None,
    host: str,
    port: int,
    no_ui: bool,
    once: bool,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Run the service: Dagster's daemon, code server, web UI and workers for its runs.

    SIGTERM and Ctrl-C end it within 20 s, SIGHUP has it read its configuration again.

    With --once a terminal shows bars instead of a line for each group; what fails
    has its line. The exit code is 0 when all is well, 3 when an attempt failed in
    this pass, and 1 for an error such as a watch directory that is missing, or
    when a signal ended it.
    """
    if once and dry_run:
        raise click.UsageError("--dry-run says what would happen; it does not go with --once")
    if quiet and verbose:
        raise click.UsageError("-q asks for less and -v for more; take one of them")
    if (quiet or verbose) and not once:
        raise click.UsageError("-q and -v go with --once; the service logs as [logging] says")
    if dry_run:
        _dry_run(config)
    elif once:
        _once(config, logging.WARNING if quiet else logging.DEBUG if verbose else None)
    else:
        _serve(config, host, port, with_ui=not no_ui)


def _serve(config: str | None, host: str, port: int, *, with_ui: bool) -> None:
    from carbonation_core.delivery.ownership import refusals
    from carbonation_core.errors import CarbonationError, ConfigError
    from carbonation_core.project import rules_in_force
    from carbonation_core.rules.hosts import host_faults
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.logs.stream import ServiceLog
    from carbonation_dagster.service.front import Front
    from carbonation_dagster.service.processes import Address

    project = open_project(config, as_service=True)
    with closing(ServiceLog(project.config)) as service_log:
        for sentence in _exposed(project.config, host if with_ui else None):
            log.warning("%s", sentence)
        try:
            faults = host_faults(rules_in_force(project), project.config)
            if refused := [*refusals(project), *faults]:
                raise ConfigError(*refused)
            project.engine.dispose()
            Front(project, Address(host, port) if with_ui else None, service_log).run()
        except CarbonationError as error:
            log.error("%s", error)  # a sentence is all there is to say
            sys.exit(1)
        except Exception as error:  # now, as nobody writes the log once it is closed
            name = type(error).__name__
            log.critical("the service ended by a fault of its own: %s: %s", name, error, exc_info=True)
            sys.exit(1)


def _exposed(config: "Config", host: str | None) -> list[str]:
    """What others than the operator could read, or do."""
    from carbonation_core.config.toml import read_toml
    from carbonation_core.disk.probe import mode_of
    from carbonation_core.rules.lint import access_advice

    found = access_advice(config, read_toml(config.path), mode_of)
    if config.metrics.address is not None and not _is_loopback(config.metrics.address[0]):
        found.append(
            f"the metrics are told to whoever reaches {config.metrics.listen}: names of watches, archives, "
            "sites and hosts, and how much is delivered; let them listen on 127.0.0.1, or behind a firewall"
        )
    if host is not None and not _is_loopback(host):
        found.append(
            f"the web UI listens on {host}: it asks for no password, and whoever reaches it can launch "
            "and delete runs; put it behind a proxy that does, or let it listen on 127.0.0.1"
        )
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _once(config: str | None, level: int | None) -> None:
    from carbonation_dagster.cli.opening import open_project
    from carbonation_dagster.cli.progress import progress
    from carbonation_dagster.one_pass import run_pass

    with _interruptible():
        project = open_project(config, as_service=True, level=level)
        with progress(shown=level is None) as advance, _groups_counted(advance, shown=level is None) as told:
            done = run_pass(project, progress=told)
    for level, line in summary(done):
        log.log(level, line)
    sys.exit(done.exit_code)


@contextmanager
def _groups_counted(advance: "Progress", *, shown: bool) -> "Iterator[Progress]":
    """On a terminal, groups that end well move a bar instead of having a line each in the log."""
    from carbonation_core.logs import records
    from carbonation_core.pipeline import outcomes
    from carbonation_dagster.cli.progress import is_drawn
    from carbonation_dagster.one_pass import READY

    handler = records.begun()
    if not shown or not is_drawn() or handler is None:
        yield advance
        return
    ready, ended, failed = 0, 0, 0

    def told(what: str, done: int, of: int | None) -> None:
        nonlocal ready
        ready = of or 0 if what == READY else ready
        if what != READY or ready:
            advance(what, done, of)

    def count(record: logging.LogRecord) -> bool:
        nonlocal ended, failed
        if record.name != outcomes.__name__:
            return True
        ended, failed = ended + 1, failed + (record.levelno >= logging.WARNING)
        advance(READY, ended, max(ready, ended))
        if failed:
            advance("groups failed", failed, max(ready, ended))
        return record.levelno >= logging.WARNING

    handler.addFilter(count)
    try:
        yield told
    finally:
        handler.removeFilter(count)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does, also where a shell's background job ignores SIGINT.

    A second one ends the process at once, as a power cut would.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        for either in before:
            signal.signal(either, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, interrupt)
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _dry_run(config: str | None) -> None:
    from collections import Counter

    from carbonation_core.reports.preview import DONE, TO_COMPARE, preview
    from carbonation_dagster.cli.opening import open_unchecked

    project = open_unchecked(config)
    if objection := _objection(project):
        click.echo(f"{objection}; all files count as new here", err=True)
    previewed = preview(project)
    if not previewed:
        click.echo("There are no files in the watches", err=True)
    # Of an archive of years each group would be a line that says nothing.
    archived = [(one.watch_name, one.verdict) for one in previewed if one.verdict in (DONE, TO_COMPARE)]
    for (name, verdict), number in Counter(archived).items():
        click.echo(f"{name}: {counted(number, 'group')}: {verdict}")
    for found in previewed:
        if found.verdict in (DONE, TO_COMPARE):
            continue
        if not found.group_key:  # the watch itself
            click.echo(f"{found.watch_name}: {found.reason}", err=True)
            continue
        parts = [f"{found.watch_name}: {found.group_key}: {found.verdict}"]
        parts += [f"to {found.destination}"] if found.destination else []
        parts += [f"({found.reason})"] if found.reason else []
        click.echo(" ".join(parts))
    if of_groups := [found for found in previewed if found.group_key]:
        click.echo(_totals(of_groups))
    if len(of_groups) < len(previewed):
        sys.exit(1)


def _objection(project: "Project") -> str | None:
    """Why the database knows of no file, if it is one that can be made or upgraded."""
    from carbonation_core.db import migrate
    from carbonation_core.errors import DatabaseError
    from carbonation_core.project import require_database

    if migrate.status(project.engine, project.plugin.migrations_path).is_current:
        return None
    try:
        require_database(project)
    except DatabaseError as error:
        return str(error)
    return None


def _totals(previewed: "Sequence[Preview]") -> str:
    """What would become of all of them, as `summary` says it of a pass."""
    from collections import Counter

    from carbonation_core.reports.preview import ARCHIVE, DONE, TO_COMPARE

    groups = sum(bool(one.files) or one.verdict in (DONE, TO_COMPARE) for one in previewed)
    of = [counted(groups, "group")] if groups else []
    of += [f"{counted(len(previewed) - groups, 'file')} in no group"] if groups < len(previewed) else []
    names = ("archived" if one.verdict == ARCHIVE else one.verdict.replace("_", " ") for one in previewed)
    said = ", ".join(f"{number} {name}" for name, number in Counter(names).most_common())
    return f"{' and '.join(of)} would be: {said}"


def summary(done: "Pass") -> list[tuple[int, str]]:
    """A pass in a few lines with their levels. Each group that failed has had its own."""
    from collections import Counter

    groups = [group for report in done.reports for group in report.groups]
    counts = Counter(group.outcome.value.replace("_", " ") for group in groups if group.outcome)
    said = f"{counted(len(groups), 'group')}: " + ", ".join(f"{n} {name}" for name, n in counts.items())
    lines = [(logging.INFO, said if groups else "; ".join(["nothing was ready", *done.waiting]))]
    if done.unsettled:
        lines.append(
            (logging.INFO, f"{counted(done.unsettled, 'file')} not settled yet; a later pass takes what has")
        )
    return lines + [(logging.ERROR, error) for error in done.errors]
