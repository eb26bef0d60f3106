"""Names, times and spans as sentences write them."""

from datetime import UTC, datetime, timedelta, timezone

from carbonation_core.text import shown


def test_a_time_in_a_sentence_bears_its_zone_which_is_always_the_same() -> None:
    assert shown(datetime(2026, 1, 1, 12, tzinfo=UTC)) == "2026-01-01 12:00:00 UTC"
    assert shown(datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-01 10:00:00 UTC"
