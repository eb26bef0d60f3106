"""Types of columns that hold, and give back, the same on every database."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator

LONGEST_SENTENCE = 10_000  # characters, of the 65,535 bytes that MariaDB's TEXT takes


class UtcDateTime(TypeDecorator[datetime]):
    """A time with microseconds, aware and in UTC on every database."""

    impl = DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value and value.astimezone(UTC)
        return value.replace(tzinfo=UTC)

    # What one look or run stores, or reads, bears the same few times.

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        process = super().bind_processor(dialect)
        kept = process and lru_cache(maxsize=1000)(process)
        if process is None or kept is None:
            return None
        # Elsewhere two times that are an hour apart, when the clocks are put back, are equal to Python.
        return lambda value: kept(value) if value is not None and value.tzinfo is UTC else process(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        process = super().result_processor(dialect, coltype)
        return process and lru_cache(maxsize=1000)(process)


class Sentence(TypeDecorator[str]):
    """What is said of something, as every database takes it, whoever worded it: plugins do, too.

    What is no text is spelled out, and what nobody reads to its end is cut.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        text = value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
        return text if len(text) <= LONGEST_SENTENCE else f"{text[: LONGEST_SENTENCE - 1]}…"


class Listed(TypeDecorator[tuple[str, ...] | int]):
    """Names, or how many there are."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[str, ...] | int | None:
        return tuple(value) if isinstance(value, list) else value
