"""A report as a page: one file that needs no network, readable in a mail, too.

Mails lose pictures and style sheets; so every number also stands in a table, and
what a table needs to be read stands in it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from carbonation_core.reports import drawing
from carbonation_core.reports.activity import Activity, Fate
from carbonation_core.reports.arrivals import Kept
from carbonation_core.text import counted, printable, shown

STYLE = f"""
body {{ margin: 0; background: #f5f6f8; color: {drawing.INK}; font: 15px/1.5 {drawing.FONT}; }}
main {{ max-width: 780px; margin: 0 auto; padding: 32px 16px; }}
h1 {{ font-size: 24px; margin: 0; }}
h2 {{ font-size: 19px; margin: 0 0 4px; }}
h3 {{ font-size: 14px; margin: 26px 0 8px; }}
section {{ background: #fff; border: 1px solid {drawing.LINE}; border-radius: 10px; padding: 22px 28px 26px;
  margin-top: 22px; }}
svg {{ max-width: 100%; height: auto; display: block; }}
.quiet {{ color: {drawing.QUIET}; font-size: 13px; margin: 0; }}
.numbers {{ width: 100%; margin-top: 16px; border-collapse: collapse; }}
.numbers td {{ padding: 0 14px 0 0; vertical-align: top; }}
.numbers b {{ display: block; font-size: 22px; font-weight: 600; line-height: 1.25; }}
.rows {{ border-collapse: collapse; font-size: 13px; }}
.rows td, .rows th {{ text-align: right; padding: 1px 14px 1px 0; }}
.rows td:first-child, .rows th:first-child {{ text-align: left; }}
.key {{ display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 5px 0 12px; }}
.key:first-child {{ margin-left: 0; }}
summary {{ color: {drawing.QUIET}; font-size: 13px; cursor: pointer; margin-top: 8px; }}
"""


def page(title: str, activities: Sequence[Activity], at: datetime) -> str:
    """The whole page, one part for each watch."""
    since = min((one.since for one in activities), default=at)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_safe(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{_safe(title)}</h1><p class="quiet">{shown(since)} to {shown(at)}</p>'
        f"{''.join(map(_watch, activities))}</main></body></html>\n"
    )


def _watch(one: Activity) -> str:
    parts = [f"<h2>{_safe(one.watch_name)}</h2>", _numbers(one)]
    parts += ["<h3>Files by time of delivery</h3>", drawing.deliveries(one), _legend(drawing.COLOURS.items())]
    parts.append(_slots(one))
    if one.p50 is not None:
        parts += ["<h3>From delivery to the archive</h3>", drawing.latency(one)]
        parts.append('<p class="quiet">The dot: half of the groups. The bar reaches to 95 of 100.</p>')
    if one.reasons:
        parts += ["<h3>Why files do not get further</h3>", drawing.reasons(one), _reasons(one)]
    for strip in one.strips:
        parts.append(f"<h3>Expected: {_safe(strip.expectation)}, last {len(strip.days)} days</h3>")
        parts += [drawing.strip(strip), f'<p class="quiet">{drawing.counts(strip)}</p>']
    if one.strips:
        parts.append(_legend((kept, drawing.MARKS[kept]) for kept in Kept))
    return f"<section>{''.join(parts)}</section>"


def _numbers(one: Activity) -> str:
    numbers = [
        ("delivered", f"{one.files:,}"),
        ("of data", drawing.size(one.bytes)),
        ("of them archived", f"{one.archived:,}"),
        ("half in", "none" if one.p50 is None else drawing.span(one.p50)),
        ("95 of 100 in", "none" if one.p95 is None else drawing.span(one.p95)),
        ("wait now", f"{one.waiting:,}"),
        ("do not get further", f"{one.failed:,}"),
    ]
    cells = (f'<td><b>{value}</b><span class="quiet">{name}</span></td>' for name, value in numbers)
    return f'<table class="numbers"><tr>{"".join(cells)}</tr></table>'


def _slots(one: Activity) -> str:
    """The numbers of the bars, folded up where a reader can do that."""
    rows = [
        [drawing.clock(slot.begins_at, one.step), *(f"{slot.files[fate]:,}" for fate in Fate)]
        for slot in one.slots
        if any(slot.files.values())
    ]
    if not rows:
        return '<p class="quiet">Nothing was delivered.</p>'
    return f"<details><summary>The numbers</summary>{_table(['since', *Fate], rows)}</details>"


def _reasons(one: Activity) -> str:
    rows = [[reason, f"{count:,}"] for reason, count in one.reasons]
    if not any(len(reason) > drawing.LONGEST_REASON for reason, _ in one.reasons):
        return ""
    number = counted(len(one.reasons), "reason")
    return f"<details><summary>{number}, in full</summary>{_table(['reason', 'files'], rows)}</details>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_safe(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="rows"><tr>{head}</tr>{body}</table>'


def _legend(colours: Iterable[tuple[str, str]]) -> str:
    keys = "".join(
        f'<span class="key" style="background:{colour}"></span>{_safe(name)}' for name, colour in colours
    )
    return f'<p class="quiet" style="margin-top:8px">{keys}</p>'


def _safe(text: str) -> str:
    return escape(printable(text))
