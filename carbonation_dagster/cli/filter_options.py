"""Filters as options of a command, made from their one definition."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from carbonation_core.db.filters import Filter
    from carbonation_core.db.models import FileBase

    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # earlier releases of click do not make it generic

# How the service does its work: there for whoever knows them, not in the help.
_HIDDEN = frozenset(
    {
        "archive_directory",
        "attempts",
        "batch_id",
        "deadline_at",
        "due_at",
        "reopened_at",
        "rules_digest",
        "timed_out_at",
    }
)


def filter_options(model: "type[FileBase]", taken: Iterable[click.Parameter]) -> list[click.Option]:
    """An option for each filter on the model's columns.

    One whose name is `taken`, or is that of an earlier one, is called `--by-…`.
    """
    names = {name for parameter in taken for name in (*parameter.opts, *parameter.secondary_opts)}
    options = []
    for one in _filters(model):
        option = _option(one, names)
        names.update(option.opts, option.secondary_opts)
        options.append(option)
    return options


def filters_from(model: "type[FileBase]", options: Mapping[str, Any], now: datetime) -> dict[str, object]:
    """The filters that were given as these options; an age counts back from `now`."""
    from carbonation_core.db.filters import Operator

    filters: dict[str, object] = {}
    for one in _filters(model):
        value = options[_parameter(one)]
        if value is None or value == ():
            continue
        filters[one.name] = now - value if one.operator is Operator.SINCE else value
    return filters


def _filters(model: "type[FileBase]") -> "list[Filter]":
    from carbonation_core.db.catalog import known_filters

    return [one for name, one in known_filters(model).items() if name == one.name]


def _parameter(one: "Filter") -> str:
    # Apart from the parameters of the command, whatever a column is called.
    return f"filter_{one.name}"


def _option(one: "Filter", taken: set[str]) -> click.Option:
    from carbonation_core.db.filters import Kind, Operator

    flag = (*one.other_names, one.name)[0].strip("_").replace("_", "-")
    is_boolean = one.kind is Kind.BOOLEAN
    if f"--{flag}" in taken or (is_boolean and f"--no-{flag}" in taken):
        flag = f"by-{flag}"
    # What the API takes is a time, reckoned by whoever asks.
    more = " long ago" if one.operator is Operator.SINCE else ""
    multiple = one.operator is Operator.IS and not is_boolean
    return click.Option(
        [_parameter(one), f"--{flag}/--no-{flag}" if is_boolean else f"--{flag}"],
        type=None if is_boolean else _type(one),
        metavar=None if is_boolean else _metavar(one),
        default=None,
        multiple=multiple,
        is_flag=is_boolean,
        hidden=one.column in _HIDDEN,
        help=f"{one.description[:1].upper()}{one.description[1:]}{more}.",
    )


def _type(one: "Filter") -> "click.ParamType[Any]":
    from carbonation_core.db.filters import Kind, Operator, parse_time
    from carbonation_core.text import LONGEST_AGE, parse_duration, parse_span

    if one.operator is Operator.OVERLAPS:
        return _Parsed(_range)
    if one.operator is Operator.SINCE:
        return _Parsed(partial(parse_duration, longest=LONGEST_AGE))
    if one.kind is Kind.INTEGER:
        return click.INT
    if one.kind is Kind.NUMBER:
        return click.FLOAT
    if one.kind is Kind.WORD:
        return click.Choice(list(dict.fromkeys(word for _, word in one.words)))
    if one.kind is Kind.SPAN:
        return _Parsed(parse_span)
    if one.kind is Kind.UUID:
        return click.UUID
    return click.STRING if one.kind is Kind.TEXT else _Parsed(parse_time)


def _metavar(one: "Filter") -> str | None:
    from carbonation_core.db.filters import Kind, Operator

    if one.operator is Operator.OVERLAPS:
        return "A/B|A/|/B|A"
    if one.operator is Operator.SINCE:
        return "DURATION"
    names = {Kind.TEXT: "TEXT", Kind.INTEGER: "N", Kind.NUMBER: "NUMBER"}
    names |= {Kind.SPAN: "DURATION", Kind.UUID: "UUID"}
    return None if one.kind is Kind.WORD else names.get(one.kind, "TIME")


class _Parsed(ParamType):
    """What a function makes of the text; its `ValueError` says what is wrong."""

    name = "text"

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(f'"{value}" {error}', param, ctx)


def _range(text: str) -> tuple[Any, Any]:
    from carbonation_core.db.filters import parse_time

    begin, slash, end = (part.strip() for part in text.partition("/"))
    if not slash:
        return parse_time(begin), parse_time(begin)
    if not begin and not end:
        raise ValueError("has neither a beginning nor an end")
    return parse_time(begin) if begin else None, parse_time(end) if end else None
