"""What both files share: durations, and the words of a fault."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbonation_core.config.toml import parse_toml, place, shown
from carbonation_core.errors import ConfigError
from carbonation_core.text import LONGEST_AGE, format_duration, nearest, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("1.5h", 5400),
        ("7d", 604_800),
        (" 2 h ", 7200),
        ("0.5s", 0.5),
        ("365d", 31_536_000),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value", ["", "5", "s", "-5s", "5 seconds", "5S", "1e3s", "٣s", "5s5m", "inf s", 5, True, None, ["5s"]]
)
def test_anything_else_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="should be a duration such as"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["0s", "0d", "0.0000001s", "366d", "8761h", "9" * 400 + "d"])
def test_a_duration_is_more_than_nothing_and_at_most_a_year(value: str) -> None:
    with pytest.raises(ValueError, match="should be more than 0 and at most 365 days"):
        parse_duration(value)


def test_an_age_is_at_most_a_century() -> None:
    assert parse_duration("730d", longest=LONGEST_AGE) == timedelta(days=730)
    with pytest.raises(ValueError, match="should be more than 0 and at most 36500 days"):
        parse_duration("36501d", longest=LONGEST_AGE)


@given(st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=365)))
def test_a_formatted_duration_reads_back_as_itself(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize("text", ["5s", "90s", "30m", "24h", "36h", "365d", "1.5s"])
def test_a_duration_is_formatted_shortly(text: str) -> None:
    assert format_duration(parse_duration(text)) in (text, {"24h": "1d"}.get(text))


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "a." * 2000 + "b = 1", f"a = {'9' * 5000}", "a = 2024-13-01", "a", "\0"]
)
def test_whatever_is_no_toml_is_a_fault(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^c\.toml: is not valid TOML: "):
        parse_toml(text, "c.toml")


def test_a_place_names_file_table_and_key() -> None:
    assert place("c.toml", "[service]", "workers") == 'c.toml: [service]: key "workers"'
    assert place("c.toml") == "c.toml"


def test_a_near_name_is_suggested() -> None:
    assert nearest("wokers", ["workers", "level"]) == 'did you mean "workers"?'


def test_without_a_near_name_all_are_listed() -> None:
    assert nearest("x", ["b", "a"]) == 'known: "a", "b"'
    assert nearest("x", []) == "known: none"


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), ("ä", '"ä"'), (1.5, "1.5"), (float("inf"), "inf"), ([1, "a"], '[1, "a"]')],
)
def test_a_value_is_shown_as_it_is_written(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_long_value_is_cut() -> None:
    assert len(shown("x" * 1000)) == 80
