"""`carbonation query`: the groups and the delivered files in the database."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

import click

from carbonation_core.lifecycle import FileStatus
from carbonation_dagster.cli.commands import Command, Group, config_option, watch_name_option
from carbonation_dagster.cli.filter_options import filter_options, filters_from

if TYPE_CHECKING:
    from carbonation_core.db.models import FileBase

_MODEL, _FAULT = "carbonation.file_model", "carbonation.no_file_model"


class FilesCommand(Command):
    """A command with options for the columns of the configured plugin."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, once the plugin is known. Help is given without it, too."""
        from carbonation_core.errors import CarbonationError

        wants_help = any(word in ctx.help_option_names for word in args) or ctx.resilient_parsing
        try:
            ctx.meta[_MODEL] = _configured_model(_config_in(args) or ctx.find_root().obj)
        except CarbonationError as error:
            if not wants_help:
                raise
            ctx.meta[_FAULT] = str(error)
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say so if there are no options of a plugin."""
        super().format_epilog(ctx, formatter)
        if _FAULT in ctx.meta:
            formatter.write_paragraph()
            formatter.write_text(
                "The plugin's columns have options, too; they are not shown, as there is no plugin: "
                + ctx.meta[_FAULT]
            )

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options as written below, and those of the filters."""
        own = super().get_params(ctx)
        return [*filter_options(_model(ctx), own), *own]


def _config_in(args: Sequence[str]) -> str | None:
    """What `-c` names among arguments, the others of which are not known yet."""
    lenient = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    alone = click.Command("alone", params=[config_option()], context_settings=lenient)
    found: str | None = alone.make_context("alone", list(args), resilient_parsing=True).obj
    return found


def _configured_model(path: str | None) -> "type[FileBase]":
    from carbonation_core.config.loading import load_config
    from carbonation_core.plugin import load_plugin

    return load_plugin(load_config(path)).file_model


def _model(ctx: click.Context) -> "type[FileBase]":
    """The plugin's model; while there is none, that of the core."""
    from carbonation_core.db.models import Group

    model: type[FileBase] = ctx.meta.get(_MODEL, Group)
    return model


@click.group(cls=Group)
def query() -> None:
    """Ask the database."""


def _format_option(rows: str) -> Callable[[Any], Any]:
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", "csv", "json"]),
        default="table",
        show_default=True,
        help=f"How {rows} are printed.",
    )


_columns_option = click.option(
    "--columns", metavar="NAME,…", multiple=True, help="Columns, separated by commas; else the usual ones."
)
_order_option = click.option(
    "--order-by",
    metavar="[-]NAME,…",
    multiple=True,
    help="Columns to sort by, each with a leading - for descending.",
)
_count_option = click.option("--count", is_flag=True, help="Only how many there are, whatever the limit.")
_limit_option = click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many.")


@query.command(
    "files",
    cls=FilesCommand,
    examples=(
        "carbonation query files --type image --order-by -created_at --limit 10",
        "carbonation query files --completed-after 2026-01-31 --format csv",
        "carbonation query files --no-complete --count",
        "carbonation query files --columns group_key,archive_path --format json",
    ),
)
@_columns_option
@_order_option
@_limit_option
@_count_option
@_format_option("groups")
@click.pass_context
def files(
    ctx: click.Context,
    /,
    columns: Sequence[str],
    order_by: Sequence[str],
    limit: int | None,
    count: bool,
    form: str,
    **options: Any,
) -> None:
    """Print the groups that fit all filters, one a line.

    Options that can be repeated ask for one of several values. Times are in
    UTC; a date alone means the whole day, and every range includes its ends.
    """
    from carbonation_core.api import connect
    from carbonation_core.db.catalog import default_columns
    from carbonation_core.errors import QueryError
    from carbonation_core.text import written
    from carbonation_dagster.cli.opening import begin_log
    from carbonation_dagster.cli.wrong_usage import wrong_usage

    begin_log(ctx.obj)
    filters = filters_from(_model(ctx), options, datetime.now(UTC))
    with connect(ctx.obj) as database:
        given = _split(columns) or database.project.plugin.query_defaults.columns
        names = given or _usual(default_columns(database.file_model), form)
        order = _split(order_by) or None
        with wrong_usage(QueryError):
            if count:
                click.echo(database.query_files(filters, names, order, count_only=True))
                return
            found = database.iter_files(filters, names, order, limit)
        rows = ({name: written(value) for name, value in row.items()} for row in found)
        _print(form, names, rows, spare=() if given else names[:1:-1])


@query.command(
    "components",
    examples=(
        "carbonation query components --status failed --status retry_pending",
        "carbonation query components --reason-like sha256 --since 2d",
        "carbonation query components --group-key run1 --format json",
        "carbonation query components --status missing --count",
    ),
)
@click.option(
    "--status",
    type=click.Choice([status.value for status in FileStatus]),
    multiple=True,
    help="Those in one of these statuses; can be repeated.",
)
@watch_name_option("Only of this watch; can be repeated.", multiple=True)
@click.option("--group-key", metavar="KEY", multiple=True, help="Of such a group; % stands for any text.")
@click.option("--reason-like", metavar="TEXT", help="Whose reason has this text; % stands for any text.")
@click.option(
    "--since",
    metavar="TIME|DURATION",
    help="That came to their status since then.",
)
@_columns_option
@_order_option
@_limit_option
@_count_option
@_format_option("files")
@click.pass_obj
def components(
    path: str | None,
    status: Sequence[str],
    watch_name: Sequence[str],
    group_key: Sequence[str],
    reason_like: str | None,
    since: str | None,
    columns: Sequence[str],
    order_by: Sequence[str],
    limit: int | None,
    count: bool,
    form: str,
) -> None:
    """Print delivered files: where each stands since when and why, and what it waits for until when.

    What failed is `--status failed`; `carbonation explain` then tells its whole
    story. Times are in UTC.
    """
    from carbonation_core.api import connect
    from carbonation_core.errors import QueryError
    from carbonation_core.reports.component_list import COMPONENT_COLUMNS
    from carbonation_dagster.cli.opening import begin_log
    from carbonation_dagster.cli.wrong_usage import wrong_usage

    begin_log(path)
    given = {"status": status, "watch_name": watch_name, "group_key": group_key}
    filters: dict[str, object] = {name: list(values) for name, values in given.items() if values}
    if reason_like is not None:
        filters["reason"] = reason_like if "%" in reason_like else f"%{reason_like}%"
    if since is not None:
        filters["since_after"] = _since(since)
    usual = COMPONENT_COLUMNS if form != "table" else _USUAL_OF_COMPONENTS
    names = _split(columns) or list(usual)
    with connect(path) as database, wrong_usage(QueryError):
        if count:
            click.echo(database.query_components(filters, count_only=True))
            return
        found = database.iter_components(filters, names, _split(order_by) or None, limit)
        if columns:
            _print(form, names, found)
        else:
            _print(form, names, found, _SPARE_OF_COMPONENTS, beneath=2)


# What a person looks for; the widest come last.
_USUAL_OF_COMPONENTS = (
    "watch_name",
    "group_key",
    "filename",
    "status",
    "since",
    "attempts",
    "next_attempt",
    "reason",
    "waits_for",
)
_SPARE_OF_COMPONENTS = ("attempts", "watch_name", "next_attempt", "group_key")


def _since(text: str) -> datetime:
    from carbonation_core.db.filters import parse_time
    from carbonation_core.text import LONGEST_AGE, parse_duration

    try:
        return datetime.now(UTC) - parse_duration(text, longest=LONGEST_AGE)
    except ValueError:
        pass
    try:
        found = parse_time(text)
    except ValueError as error:
        raise click.UsageError(f'--since: "{text}" {error}, or a duration such as 2h or 7d') from None
    return found if isinstance(found, datetime) else datetime.combine(found, time.min, UTC)


def _print(
    form: str,
    names: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    spare: Sequence[str] = (),
    beneath: int = 1,
) -> None:
    from carbonation_dagster.cli.printing import WRITERS, as_table

    if form == "table":
        for line in as_table(names, rows, spare, beneath):
            click.echo(line, nl=False)  # colour on a terminal only
    else:
        for portion in WRITERS[form](names, rows):
            sys.stdout.write(portion)
    sys.stdout.flush()  # that it cannot be written is still this command's to say


def _usual(columns: Sequence[str], form: str) -> list[str]:
    """What a row has when nobody names columns: all for programs, what a person looks for in a table."""
    if form == "json":
        return list(columns)
    hidden = {"metadata"}  # the plugin's columns have it, too
    if form == "table":
        hidden |= {"id", "file_type", "archive_name", "created_at", "modified_at", "retention_date"}
    return [name for name in columns if name not in hidden]


def _split(values: Sequence[str]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]
