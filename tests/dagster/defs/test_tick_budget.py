"""A tick ends by itself, with a sentence, before Dagster gives it up."""

import pytest

from carbonation_core.db.engine import repeatable
from carbonation_core.errors import Overtaken
from carbonation_dagster.defs import sensors
from tests import databases
from tests.dagster.conftest import Shown

pytestmark = databases.one


def test_a_tick_without_time_begins_nothing_anew(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "TICK_BUDGET", 0.0)
    tried = []

    @repeatable
    def busy(*_: object, **__: object) -> None:
        tried.append(1)
        raise Overtaken("the database was busy with others for too long")

    monkeypatch.setattr(sensors, "observe", busy)

    with pytest.raises(Overtaken):
        shown.tick()

    assert len(tried) == 1
