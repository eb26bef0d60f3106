"""Times on the command line: a time, or a span before now."""

from datetime import UTC, datetime
from typing import Any

import click


def moment(text: str, option: str) -> datetime:
    """The time that `"7d"`, a date or a time means, in UTC; else wrong usage of that option."""
    from carbonation_core.db.filters import parse_time
    from carbonation_core.text import parse_duration

    try:
        return datetime.now(UTC) - parse_duration(text)
    except ValueError:
        pass
    try:
        value: Any = parse_time(text)
    except ValueError as error:
        raise click.BadParameter(f'"{text}" {error}', param_hint=option) from None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC)
