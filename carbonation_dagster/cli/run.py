"""`carbonation run`: the service, one pass, or what would happen."""

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from carbonation_dagster.one_pass import Pass


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the web UI listens.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the web UI."
)
@click.option("--no-ui", is_flag=True, help="Without the web UI.")
@click.option("--once", is_flag=True, help="One pass over all watches in this process, then end.")
@click.option("--dry-run", is_flag=True, help="Say what would happen to each group; write nothing.")
@click.pass_obj
def run(config: str | None, host: str, port: int, no_ui: bool, once: bool, dry_run: bool) -> None:
    """Run the service: Dagster's daemon, code server and web UI.

    With --once the exit code is 0 when all is well, 3 when an attempt failed in
    this pass, and 1 for an error such as a watch directory that is missing.
    """
    if once and dry_run:
        raise click.UsageError("--dry-run says what would happen; it does not go with --once")
    if dry_run:
        _dry_run(config)
    elif once:
        _once(config)
    else:
        _serve(config, host, port, with_ui=not no_ui)


def _serve(config: str | None, host: str, port: int, *, with_ui: bool) -> None:
    from carbonation_core.project import open_project, rules_in_force
    from carbonation_dagster.service import Address, Service

    project = open_project(config)
    rules_in_force(project)
    project.engine.dispose()
    Service(project, Address(host, port) if with_ui else None, _say).run()


def _once(config: str | None) -> None:
    from carbonation_core.project import open_project
    from carbonation_dagster.one_pass import run_pass

    done = run_pass(open_project(config))
    for line in summary(done):
        _say(line)
    sys.exit(done.exit_code)


def _dry_run(config: str | None) -> None:
    from carbonation_core.preview import preview
    from carbonation_core.project import open_unchecked

    for found in preview(open_unchecked(config)):
        parts = [f"{found.watch_name}: {found.group_key}: {found.verdict}"]
        parts += [f"to {found.destination}"] if found.destination else []
        parts += [f"({found.reason})"] if found.reason else []
        click.echo(" ".join(parts))


def summary(done: "Pass") -> list[str]:
    """A pass in a few lines for a person."""
    from collections import Counter

    groups = [group for report in done.reports for group in report.groups]
    counts = Counter(group.outcome.value.replace("_", " ") for group in groups if group.outcome)
    lines = [f"{len(groups)} groups: " + ", ".join(f"{n} {name}" for name, n in counts.items())]
    if not groups:
        lines = ["nothing was ready"]
    if done.unsettled:
        lines.append(f"{done.unsettled} files still change; a later pass takes them")
    lines += [f"failed: {group.group_key}: {group.reason}" for group in done.failed]
    lines += [f"error: {error}" for error in done.errors]
    return lines


def _say(line: str) -> None:
    click.echo(line, err=True)
