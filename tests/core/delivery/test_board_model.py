"""Whatever comes, is lost, stops or jumps: the board says what a plain simulation says."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from carbonation_core.api import Database
from carbonation_core.reports.arrivals import board
from tests import databases
from tests.core.delivery.test_board import expecting
from tests.site import SiteMaker

pytestmark = databases.one

START = datetime(2026, 1, 1, tzinfo=UTC)
BEAT, WITHIN = timedelta(minutes=10), timedelta(minutes=4)
EXPECT = """
    [[watch.expect]]
    every = "10m"
    within = "4m"
    group_key = "s{start:%d%H%M}.dat"
"""
# What happens: so many minutes pass, back or forth; then the files of these slots come, and one looks.
STEPS = st.lists(
    st.tuples(st.integers(-15, 45), st.lists(st.integers(1, 12), max_size=3)), min_size=1, max_size=10
)


class Simulation:
    """A dict of what came when, and the latest time at which anybody looked."""

    def __init__(self) -> None:
        self.came: dict[int, datetime] = {}
        self.told: list[tuple[str, int]] = []
        self.states: dict[int, str] = {}

    def look(self, now: datetime, came: list[int]) -> None:
        for slot in came:
            if slot in self.came:
                continue
            self.came[slot] = now
            if self.states.get(slot, "expected") != "expected":
                self.told.append(("arrived", slot))
            self.states[slot] = "arrived"
        for slot in range(1, 40):
            at, before = START + slot * BEAT, self.states.get(slot, "expected")
            if before in ("arrived", "missed"):
                continue
            after = before
            if now >= at + BEAT + WITHIN:
                after = "missed"
            elif now >= at + WITHIN:
                after = "late"
            if after != before:
                self.told.append((after, slot))
                self.states[slot] = after


@given(STEPS)
@example([(14, []), (-10, [1]), (45, []), (30, [1, 2]), (-15, [3]), (0, [12])])
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_the_board_says_what_a_plain_simulation_says(
    make: SiteMaker, tmp_path: Path, steps: list[tuple[int, list[int]]]
) -> None:
    simulated = Simulation()
    for left in (tmp_path / "incoming").glob("*"):  # of the example before
        left.unlink()
    site = expecting(make, EXPECT, now=START + timedelta(seconds=1))
    site.tick()
    for minutes, slots in steps:
        site.now += timedelta(minutes=minutes)
        names = [f"s{START + slot * BEAT:%d%H%M}.dat" for slot in slots if slot not in simulated.came]
        site.deliver(*names)
        site.tick()
        simulated.look(site.now, [])
        site.tick(3)
        simulated.look(site.now, slots)
    found = {one.expected_at: str(one.state) for one in board(site.project, since=START)}
    rows, _ = Database(site.project).get_new_files(events=True)
    site.close()
    of_arrivals = sorted((row["event"], row["group_key"]) for row in rows)
    assert of_arrivals == sorted(
        (event, f"s{START + slot * BEAT:%d%H%M}.dat") for event, slot in simulated.told
    )
    for slot in range(1, 40):
        assert found[START + slot * BEAT] == simulated.states.get(slot, "expected"), (slot, steps)
