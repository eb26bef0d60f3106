"""What a value of config.toml may be, as types that check it; what is wrong is a sentence."""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from carbonation_core.config.toml import LONGEST_VALUE, Duration, at_home, shown
from carbonation_core.process import LONGEST_HOST

FILE_MODES = (0o600, 0o640, 0o644, 0o660, 0o666, 0o440, 0o444)
DIR_MODES = (0o700, 0o750, 0o755, 0o770, 0o777, 0o2750, 0o2770, 0o2775)
LONGEST_NAME = 200  # characters; the database has room for 255, with what else they are part of
LONGEST_URL = 2000  # characters; what all browsers take
LONGEST_HOOK = timedelta(seconds=40)  # Dagster ends a tick after 60 s


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", value):
        raise ValueError('should be of letters, digits, "_", "-" and "." only')
    return value


def _mode(allowed: tuple[int, ...]) -> Any:
    choices = ", ".join(f"0o{choice:o}" for choice in allowed)

    def check(value: object) -> int:
        mode, hint, found = value, "", shown(value)
        if isinstance(value, str):
            if re.fullmatch(r"(0o?)?[0-7]{3,4}", value):
                mode = int(value, 8)
        elif type(value) is int:
            found = f"{value} (0o{value:o})"
            if f"0o{value}" in choices.split(", "):
                hint = f"; did you mean 0o{value}?"
        if type(mode) is not int or mode not in allowed:
            raise ValueError(f"{found} is none of {choices}{hint}")
        return mode

    return BeforeValidator(check)


def _share(value: object) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*%", value) if isinstance(value, str) else None
    if match is None or float(match[1]) > 100:
        raise ValueError('should be a share such as "10%", at most "100%"')
    return float(match[1]) / 100


def _level(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _database_name(value: str) -> str:
    if value == ":memory:":
        raise ValueError('":memory:" would be another database in each process; name a file')
    at_home(value)
    return value


def _url(value: str) -> str:
    try:
        found = urlsplit(value)
        # A port that is none raises when it is asked for.
        wrong = found.scheme not in ("http", "https") or not found.hostname or found.port == 0
    except ValueError:
        wrong = True
    if wrong:
        raise ValueError('is no address of the form "https://host/path"')
    return value


def _listen(value: str) -> str:
    match = re.fullmatch(r"(?:([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):)?([0-9]{1,5})", value)
    if match is None or not 0 < int(match[2]) < 65_536:
        raise ValueError('is no address of the form "127.0.0.1:9464"')
    return value


def _token(value: str) -> str:
    if not value or not value.isascii() or not value.isprintable():
        raise ValueError("should be of printable ASCII characters")
    return value


def _hook_timeout(value: timedelta) -> timedelta:
    if value > LONGEST_HOOK:
        raise ValueError(f"should be at most {LONGEST_HOOK.total_seconds():.0f} seconds")
    return value


Name = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_name)]
HostName = Annotated[str, Field(max_length=LONGEST_HOST), AfterValidator(_name)]
DatabaseName = Annotated[str, AfterValidator(_database_name)]
Url = Annotated[str, Field(max_length=LONGEST_URL), AfterValidator(_url)]
Listen = Annotated[str, AfterValidator(_listen)]
Token = Annotated[str, AfterValidator(_token)]
Argument = Annotated[str, Field(min_length=1, max_length=LONGEST_VALUE)]
Level = Annotated[
    Literal["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_level)
]
Share = Annotated[float, BeforeValidator(_share)]
HookTimeout = Annotated[Duration, AfterValidator(_hook_timeout)]
FileMode = Annotated[int, _mode(FILE_MODES)]
DirMode = Annotated[int, _mode(DIR_MODES)]
