"""Names, times and spans as sentences write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbonation_core.text import counted, parse_span, shown, written


def test_a_time_in_a_sentence_bears_its_zone_which_is_always_the_same() -> None:
    assert shown(datetime(2026, 1, 1, 12, tzinfo=UTC)) == "2026-01-01 12:00:00 UTC"
    assert shown(datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-01 10:00:00 UTC"


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(0), "PT0S"),
        (timedelta(days=400), "P400D"),
        (timedelta(days=1, hours=2, seconds=3), "P1DT2H3S"),
        (timedelta(minutes=90), "PT1H30M"),
        (timedelta(microseconds=1500), "PT0.0015S"),
        (-timedelta(seconds=90), "-PT1M30S"),
    ],
)
def test_a_span_is_written_in_iso_8601(span: timedelta, text: str) -> None:
    assert written(span) == text
    assert parse_span(text) == span


@given(st.timedeltas(timedelta(days=-700_000), timedelta(days=2_900_000)))
def test_a_span_that_was_written_is_read_back(span: timedelta) -> None:
    assert parse_span(written(span)) == span


def test_a_span_may_be_given_as_in_the_configuration() -> None:
    assert parse_span("1.5h") == timedelta(minutes=90)


@pytest.mark.parametrize("text", ["P", "PT", "P1DT", "P1Y", "-1D", "", "PT1H ", 5, "P" + "9" * 400 + "D"])
def test_what_is_no_span_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="should be"):
        parse_span(text)


def test_a_number_and_what_it_counts_agree() -> None:
    assert [counted(n, "group") for n in (0, 1, 2)] == ["0 groups", "1 group", "2 groups"]
    assert [counted(3, one) for one in ("watch", "copy", "batch", "day")] == [
        "3 watches",
        "3 copies",
        "3 batches",
        "3 days",
    ]
