"""Pictures of a watch's activity: SVG made of values, without a library and without a network."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from html import escape

from carbonation_core.reports.activity import Activity, Fate, Slot
from carbonation_core.reports.arrivals import Kept, Strip
from carbonation_core.text import counted, printable

INK, QUIET, LINE = "#1f2733", "#667085", "#e4e7ec"
COLOURS = {Fate.ARCHIVED: "#2f6fdf", Fate.WAITING: "#e5a50a", Fate.FAILED: "#d1434b", Fate.LEFT: "#b6bdc9"}
MARKS = {
    Kept.IN_TIME: "#2f6fdf",
    Kept.LATE: "#e5a50a",
    Kept.INCOMPLETE: "#8f5bd6",
    Kept.MISSED: "#d1434b",
    Kept.EXCUSED: "#b6bdc9",
    Kept.TO_COME: "#dbe5f8",
}
NOTHING = "#f2f4f7"
WIDTH, LEFT, RIGHT = 720, 52, 8
TALL, TOP, FOOT = 170, 10, 22  # of a chart, and above and below what is drawn in it
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
LONGEST_REASON = 84  # characters
MOST_LABELS = 8
LONGEST_LABEL = 40  # of the width
NBSP = "\N{NO-BREAK SPACE}"
DAY_TALL, STRIP_TALL = 24, 46  # of a day's box, and of a strip with its dates
TIMES = (0.1, 1, 10, 60, 600, 3600, 36_000, 86_400, 864_000, 8_640_000)  # seconds, on the scale of latency


def deliveries(activity: Activity) -> str:
    """Bars of files by hour or day of delivery, piled up by what became of them."""
    top = nice(max((sum(slot.files.values()) for slot in activity.slots), default=0))
    marks = [line(_height(value / top), str(value)) for value in (0, top // 2, top) if top]
    wide = (WIDTH - LEFT - RIGHT) / len(activity.slots)
    for number, slot in enumerate(activity.slots):
        foot = 0
        said = ", ".join(f"{count} {fate}" for fate, count in slot.files.items() if count)
        for fate in Fate:
            if not slot.files[fate]:
                continue
            upper, lower = _height((foot + slot.files[fate]) / top), _height(foot / top)
            foot += slot.files[fate]
            marks.append(
                f'<rect x="{LEFT + number * wide + 1:.1f}" y="{upper:.1f}" width="{max(wide - 2, 1):.1f}" '
                f'height="{max(lower - upper - 0.5, 1):.1f}" fill="{COLOURS[fate]}">'
                f"<title>{clock(slot.begins_at, activity.step)}: {said}</title></rect>"
            )
    return svg(TALL, [*marks, *_times(activity)], "files by time of delivery")


def latency(activity: Activity) -> str:
    """Seconds from delivery to the archive: a dot for half of the groups, a bar up to nineteen of twenty."""
    longest = max((slot.p95 for slot in activity.slots if slot.p95 is not None), default=0)
    scale = TIMES[: next((n for n, time in enumerate(TIMES) if time >= longest), len(TIMES) - 1) + 1]
    scale = scale if len(scale) > 1 else TIMES[:2]
    marks = [line(_height(_on_scale(time, scale)), span(time)) for time in scale]
    wide = (WIDTH - LEFT - RIGHT) / len(activity.slots)
    for number, slot in enumerate(activity.slots):
        if slot.p50 is None or slot.p95 is None:
            continue
        x = LEFT + (number + 0.5) * wide
        half, most = _height(_on_scale(slot.p50, scale)), _height(_on_scale(slot.p95, scale))
        marks.append(
            f"<g><title>{clock(slot.begins_at, activity.step)}: half in {span(slot.p50)}, "
            f"95 of 100 in {span(slot.p95)}</title>"
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{half:.1f}" y2="{most:.1f}" stroke="#9dbcf2" '
            'stroke-width="5" stroke-linecap="round"/>'
            f'<circle cx="{x:.1f}" cy="{half:.1f}" r="4" fill="{COLOURS[Fate.ARCHIVED]}"/></g>'
        )
    return svg(TALL, [*marks, *_times(activity)], "seconds from delivery to the archive")


def reasons(activity: Activity) -> str:
    """A bar for each reason why files do not get further."""
    rows = [*activity.reasons]
    if activity.other_reasons:
        rows.append(("other reasons", activity.other_reasons))
    most = max((count for _, count in rows), default=1)
    marks = []
    for number, (reason, count) in enumerate(rows):
        y = number * 34
        marks += [
            text(0, y + 13, shortened(reason), INK),
            f'<rect x="0" y="{y + 19}" width="{max((WIDTH - 60) * count / most, 2):.1f}" height="8" rx="2" '
            f'fill="{COLOURS[Fate.FAILED]}"><title>{escape(printable(reason))}</title></rect>',
            text((WIDTH - 60) * count / most + 8, y + 27, f"{count:,}", QUIET),
        ]
    return svg(len(rows) * 34, marks, "why files do not get further")


def strip(one: Strip) -> str:
    """A box for each day of an expectation."""
    wide = WIDTH / len(one.days)
    boxes = [
        f'<rect x="{number * wide + 1:.1f}" y="0" width="{wide - 2:.1f}" height="{DAY_TALL}" rx="3" '
        f'fill="{MARKS[kept] if kept else NOTHING}"><title>{day}: {kept or "nothing expected"}</title></rect>'
        for number, (day, kept) in enumerate(one.days)
    ]
    return svg(STRIP_TALL, [*boxes, *_ends(one)], f"{one.expectation}, by day")


def small_strips(strips: Sequence[Strip]) -> str:
    """The strips of a watch under each other, in few bytes: for a place that keeps each picture for ever."""
    marks = ['<rect width="100%" height="100%" fill="#fff"/>']
    for row, one in enumerate(strips):
        wide = WIDTH / len(one.days)
        boxes: dict[str, str] = {}
        for number, (_, kept) in enumerate(one.days):
            box = f"M{number * wide + 1:g} 0h{wide - 2:g}v{DAY_TALL}h-{wide - 2:g}z"
            colour = MARKS[kept] if kept else NOTHING
            boxes[colour] = boxes.get(colour, "") + box
        drawn = "".join(f'<path fill="{colour}" d="{path}"/>' for colour, path in boxes.items())
        top = row * (STRIP_TALL + 24)
        marks.append(f'<g transform="translate(0 {top})">{text(1, 14, one.expectation, INK)}</g>')
        below = drawn + _key(one) + "".join(_ends(one))
        marks.append(f'<g transform="translate(0 {top + 22})">{below}</g>')
    return svg(len(strips) * (STRIP_TALL + 24), marks, "expected arrivals by day")


def counts(one: Strip) -> str:
    """A strip in numbers."""
    return ", ".join(f"{one.counts[kept]:,} {kept}" for kept in Kept if one.counts.get(kept)) or "none"


def picture(activity: Activity) -> str:
    """All of a watch's charts under each other, as one small picture."""
    parts = [("Files by time of delivery", deliveries(activity), TALL)]
    parts.append(("From delivery to the archive: half, and 95 of 100", latency(activity), TALL))
    if activity.reasons:
        rows = len(activity.reasons) + bool(activity.other_reasons)
        parts.append(("Why files do not get further", reasons(activity), rows * 34))
    parts += [
        (f"Expected: {one.expectation}, last {len(one.days)} days", strip(one), STRIP_TALL)
        for one in activity.strips
    ]
    marks, y = [], 8
    for title, drawn, tall in parts:
        marks.append(text(0, y + 14, title, INK, weight=600))
        marks.append(f'<g transform="translate(0 {y + 24})">{drawn}</g>')
        y += tall + 40
    ground = f'<rect width="100%" height="{y}" fill="#ffffff"/>'
    return svg(y, [ground, *marks], f"report of {activity.watch_name}")


def svg(tall: float, marks: Iterable[str], label: str) -> str:
    """A drawing of the usual width."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall:g}" width="{WIDTH}" '
        f'height="{tall:g}" role="img" aria-label="{escape(printable(label))}" font-family="{FONT}" '
        f'font-size="12">{"".join(marks)}</svg>'
    )


def text(x: float, y: float, said: str, colour: str, anchor: str = "start", weight: int = 400) -> str:
    """Words in a drawing."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(said)}</text>"
    )


def line(y: float, said: str) -> str:
    """A line of the grid, with its value."""
    return f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINE}"/>' + text(
        LEFT - 8, y + 4, said, QUIET, "end"
    )


def nice(most: int) -> int:
    """The end of a scale that holds so many: 2, 4, 10, 20, 40, 100 …; 0 for nothing."""
    if most <= 0:
        return 0
    power: int = 10 ** (len(str(most)) - 1)
    return next(step * power for step in (2, 4, 10, 20) if step * power >= most)


def span(seconds: float) -> str:
    """A time that something took, in the unit that fits it."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def clock(at: datetime, step: timedelta) -> str:
    """When an hour or a day begins."""
    return f"{at:%-d %b}" if step >= timedelta(days=1) else f"{at:%-d %b %H:%M}"


def size(number: int) -> str:
    """Bytes, in the unit that fits them."""
    value, units = float(number), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"


def shortened(reason: str) -> str:
    """A reason on one line, cut where there is no room."""
    said = printable(reason)
    return said if len(said) <= LONGEST_REASON else f"{said[: LONGEST_REASON - 1]}…"


def in_words(activity: Activity) -> str:
    """What the pictures show, in a sentence."""
    said = (
        f"{counted(activity.files, 'file')} delivered ({size(activity.bytes)}), {activity.archived} archived"
    )
    if activity.p50 is not None and activity.p95 is not None:
        said += f", half in {span(activity.p50)}, 95 of 100 in {span(activity.p95)}"
    return f"{said}; now {activity.waiting} wait and {activity.failed} do not get further"


def _key(one: Strip) -> str:
    """Which colour is which, with its number, between the dates."""
    said = f"{NBSP * 3}".join(
        f'<tspan fill="{MARKS[kept]}">\N{BLACK SQUARE}</tspan>{NBSP}{one.counts[kept]:,}{NBSP}{kept}'
        for kept in Kept
        if one.counts.get(kept)
    )
    return f'<text x="{WIDTH / 2:g}" y="40" fill="{QUIET}" text-anchor="middle">{said}</text>'


def _ends(one: Strip) -> list[str]:
    first, last = one.days[0][0], one.days[-1][0]
    return [text(1, 40, f"{first:%-d %b}", QUIET), text(WIDTH - 1, 40, f"{last:%-d %b}", QUIET, "end")]


def _height(share: float) -> float:
    return TALL - FOOT - share * (TALL - FOOT - TOP)


def _on_scale(seconds: float, scale: Sequence[float]) -> float:
    """How far up a scale of powers a time is, 0 to 1."""
    after = next((n for n, time in enumerate(scale) if time >= seconds), len(scale) - 1)
    if after == 0:
        return 0
    low, high = scale[after - 1], scale[after]
    within = math.log(min(seconds, high) / low) / math.log(high / low)
    return (after - 1 + within) / (len(scale) - 1)


def _times(activity: Activity) -> list[str]:
    """Labels below a chart: hours, and the day where it begins."""
    slots, wide = activity.slots, (WIDTH - LEFT - RIGHT) / len(activity.slots)
    each = max(1, math.ceil(len(slots) / MOST_LABELS))
    return [
        text(LEFT + number * wide + 1, TALL - 5, _label(slot, activity.step, first=number == 0), QUIET)
        for number, slot in enumerate(slots)
        if number % each == 0 and LEFT + number * wide < WIDTH - LONGEST_LABEL
    ]


def _label(slot: Slot, step: timedelta, *, first: bool) -> str:
    if step >= timedelta(hours=6) or first:
        return f"{slot.begins_at:%-d %b}"
    return f"{slot.begins_at:%H:%M}"
