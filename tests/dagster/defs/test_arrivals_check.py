"""The check `arrivals`: on the delivery of a watch that expects something, and only there."""

import dagster as dg

from carbonation_dagster.defs.naming import ARRIVALS_CHECK
from carbonation_dagster.defs.watch_checks import checks_of
from tests.dagster.conftest import PLUGIN_SECTION, Shown, show
from tests.dagster.defs.test_change_sensor import Ticking
from tests.site import SINGLE, SiteMaker

NAME = f"incoming/delivery {ARRIVALS_CHECK}"
EXPECT = '[{ every = "1h", within = "5m", severity = "error", group_key = "f_{start:%H}" }]'


def expecting(make: SiteMaker, instance: dg.DagsterInstance) -> Shown:
    return show(make(SINGLE, watch={"expect": EXPECT}, more=PLUGIN_SECTION), instance)


def test_what_is_late_fails_the_check_once_and_passes_it_when_it_came(
    make: SiteMaker, instance: dg.DagsterInstance
) -> None:
    shown = expecting(make, instance)
    site, tick = shown.site, Ticking(shown)
    site.tick()
    assert tick()[NAME] == (True, None)
    site.tick(3600 + 301)
    events = [one for one in tick.events() if getattr(one, "check_name", "") == ARRIVALS_CHECK]
    (told,) = events
    assert (told.passed, told.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert told.description == "f_13, expected at 2026-01-01 13:00:00 UTC, is late"
    assert (told.metadata["late"].value, told.metadata["missed"].value) == (1, 0)
    assert "table" in told.metadata
    drawn = told.metadata["last 30 days"].value
    assert drawn.startswith("![arrivals by day](data:image/svg+xml;base64,")
    assert len(drawn) < 2000  # each evaluation is kept for ever
    assert NAME not in tick()
    site.deliver("f_13")
    site.settle()
    assert tick()[NAME] == (True, None)


def test_a_watch_that_expects_nothing_has_no_such_check(
    make: SiteMaker, instance: dg.DagsterInstance
) -> None:
    watch = show(make(SINGLE, more=PLUGIN_SECTION), instance).site.project.config.watch[0]
    assert ARRIVALS_CHECK not in [check.name for check in checks_of(watch)]
