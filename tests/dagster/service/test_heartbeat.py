"""The heartbeat of the service, while the database does not answer and afterwards."""

import logging

import pytest

from carbonation_core.errors import DatabaseError
from carbonation_core.project import Project
from carbonation_core.reports import heartbeat
from carbonation_dagster.service.heartbeat import AGAIN, Heart
from tests.site import Site


def test_a_word_that_failed_is_said_again_soon_and_its_fault_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    now, asked, is_away = [1000.0], [], [True]

    def say(project: Project, *_: object) -> None:
        asked.append(now[0])
        if is_away[0]:
            raise DatabaseError("the database is away")

    monkeypatch.setattr(heartbeat, "beat", say)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    heart = Heart(site.project, None)

    def seconds_pass(number: float) -> None:
        for _ in range(int(number)):
            heart.beat_when_due([])
            assert heart._thread is not None
            heart._thread.join()
            now[0] += 1

    seconds_pass(3 * AGAIN)
    assert asked == [1000.0, 1000 + AGAIN, 1000 + 2 * AGAIN]
    is_away[0] = False
    seconds_pass(70)
    assert asked[3:] == [1000 + 3 * AGAIN, 1060 + 3 * AGAIN]
    assert [record.message for record in caplog.records] == [
        "the service could not say that it lives: the database is away"
    ]
