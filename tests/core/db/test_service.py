"""What a watch's looks say is kept as JSON, and is read again as it was."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from carbonation_core.db.service import WatchState

TIMES = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)) | st.none()  # noqa: DTZ001


@given(st.builds(WatchState, counted_at=TIMES, last_new=TIMES))
def test_what_a_look_says_is_read_as_it_was_written(state: WatchState) -> None:
    assert WatchState.from_details(json.loads(json.dumps(state.to_details()))) == state


def test_what_an_earlier_release_did_not_know_is_as_before_the_first_look() -> None:
    assert WatchState.from_details({"files": 3, "gone": True}) == WatchState(files=3)
