"""What a watch expects, and when: the tables `[[watch.expect]]`."""

import difflib
import hashlib
import json
import string
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from carbonation_core.config.toml import Duration, Section
from carbonation_core.text import format_duration, nearest

Severity = Literal["warn", "error"]

SHORTEST_BEAT = timedelta(minutes=1)
TIMES = ("start", "start_utc")  # what a template of keys may name
_EXAMPLE = datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)


def _cron(value: str) -> str:
    if len(value.split()) != 5:
        raise ValueError('should have five fields, "minute hour day month weekday"')
    try:
        next(CronSim(value, _EXAMPLE))
    except CronSimError as error:
        raise ValueError(f'should be a cron expression such as "*/15 * * * *": {error}') from None
    except StopIteration:
        raise ValueError("is never due") from None
    return value


def _beat(value: timedelta) -> timedelta:
    if value < SHORTEST_BEAT:
        raise ValueError(f"should be at least {format_duration(SHORTEST_BEAT)}")
    return value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, LookupError):  # of a directory of zones, and of none at all
        raise ValueError(f"there is no such time zone; {_alike(value)}") from None
    return value


def _alike(zone: str) -> str:
    zones = available_timezones()
    return nearest(zone, zones) if difflib.get_close_matches(zone, zones) else 'such as "Europe/Berlin"'


def _key(value: str) -> str:
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(value) if name is not None}
        filled = value.format(start=_EXAMPLE, start_utc=_EXAMPLE)
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"should be a template over {' and '.join(TIMES)}: {error}") from None
    if not names & set(TIMES) or filled == value:
        raise ValueError('should name the time, such as "run_{start:%Y%m%d%H%M}"')
    return value


class Expect(Section):
    """Arrivals that are expected at known times; there can be several for a watch."""

    name: str = Field("", description="unique in its watch; absent: its `cron` or `every`")
    cron: Annotated[str, AfterValidator(_cron)] | None = Field(
        None, description="when one is expected: minute, hour, day, month, weekday; this or `every`"
    )
    every: Annotated[Duration, AfterValidator(_beat)] | None = Field(
        None, description="one in each such span, counted from midnight UTC of 1970-01-01; this or `cron`"
    )
    timezone: Annotated[str, AfterValidator(_timezone)] = Field(
        "UTC", description='zone of `cron` and of `{start}`, such as "Europe/Berlin"'
    )
    within: Duration = Field(description="how long after its time it may come and is not late")
    group_key: Annotated[str, Field(min_length=1), AfterValidator(_key)] | None = Field(
        None,
        description="template of the key of the group that is expected, such as `run_{start:%Y%m%d%H%M}`; "
        "`{start_utc}` is the same time in UTC; absent: whatever comes near the time",
    )
    match: str | None = Field(
        None, min_length=1, description="without `group_key`: a glob on the keys of the groups that count"
    )
    severity: Severity = Field("warn", description="how much it matters when one is late or missed")

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.cron is None) == (self.every is None):
            raise ValueError("needs either cron or every")
        if self.group_key is not None and self.match is not None:
            raise ValueError("has both group_key and match; a key says it all")
        return self

    @property
    def label(self) -> str:
        """What tells it from the others of its watch."""
        return self.name or self.cron or (f"every {format_duration(self.every)}" if self.every else "")

    @property
    def zone(self) -> ZoneInfo:
        """The zone of `cron` and of `{start}`."""
        return ZoneInfo(self.timezone)


def digest(expected: tuple[Expect, ...]) -> str | None:
    """Changes when a watch expects other arrivals; None when it expects none."""
    if not expected:
        return None
    said = [one.model_dump(mode="json", exclude={"severity"}) for one in expected]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
