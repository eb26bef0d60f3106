"""`rotation` and `retention` of the log's file, as config.toml has them."""

import re
from datetime import timedelta

from carbonation_core.logs.file import Retention, Rotation

_BYTES = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3}
_LONGEST = 100 * 365 * 86_400  # seconds
_PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
# No more digits than what a time or a size can be counted in.
_AMOUNT = re.compile(r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*([A-Za-z]+?)s?\s*", re.ASCII)


def parse_rotation(value: object) -> Rotation:
    """`"10 MB"`, `"1 day"`; raises `ValueError`."""
    if isinstance(value, Rotation):
        return value
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match and float(match[1]) > 0:
        number, unit, text = float(match[1]), match[2], match[0].strip()
        if unit in _BYTES:
            return Rotation(text, size=max(1, int(number * _BYTES[unit])))
        if unit in _PERIODS and 1 <= number * _PERIODS[unit] <= _LONGEST:
            return Rotation(text, period=timedelta(seconds=number * _PERIODS[unit]))
    raise ValueError('should be a size such as "10 MB" or a period such as "1 day"')


def parse_retention(value: object) -> Retention:
    """`"30 days"`, `"10 files"`; raises `ValueError`."""
    if isinstance(value, Retention):
        return value
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match and "." not in match[1]:
        number, unit, text = int(match[1]), match[2], match[0].strip()
        if unit == "file":
            return Retention(text, files=number)
        if unit in _PERIODS and 1 <= number * _PERIODS[unit] <= _LONGEST:
            return Retention(text, age=timedelta(seconds=number * _PERIODS[unit]))
    raise ValueError('should be a period such as "30 days" or a count such as "10 files"')
