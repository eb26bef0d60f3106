"""Runs that fail and checks that begin to fail are told once, a burst as one message."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from carbonation_core.reports.notify import Failure, NotifyError, unreached
from carbonation_dagster.defs import alert_sensors
from carbonation_dagster.defs.resources import RESOURCE
from tests.core.reports.test_notify import Hook
from tests.dagster.conftest import BROKEN, PLUGIN_SECTION, Shown, show
from tests.site import SINGLE, SiteMaker


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.stop()


@pytest.fixture
def told(make: SiteMaker, instance: dg.DagsterInstance, hook: Hook) -> "Told":
    section = f'[notify]\nwebhook = "{hook.url}"\nlog = false\n'
    shown = show(make(BROKEN, more=section + PLUGIN_SECTION), instance)
    return Told(shown, hook)


class Told:
    """The sensor of the webhook, tick after tick."""

    def __init__(self, shown: Shown, hook: Hook) -> None:
        self.shown, self.hook = shown, hook
        self.cursor: str | None = None

    def tick(self, target: str = "webhook") -> str | None:
        """A tick; what it says when it did not fail."""
        (sensor,) = [one for one in self.shown.defs.sensors or () if one.name == f"notify_{target}"]
        context = dg.build_sensor_context(
            instance=self.shown.instance,
            cursor=self.cursor,
            resources={RESOURCE: self.shown.carbonation},
        )
        said: Any = sensor(context)
        if isinstance(said, dg.SkipReason):
            return said.skip_message
        self.cursor = said.cursor
        reason: dg.SkipReason = said.skip_reason
        return reason.skip_message

    def fail(self, *names: str) -> list[str]:
        """Runs that fail, one for each file."""
        for name in names:
            self.shown.site.deliver(name, content=b"broken")
        self.shown.site.settle()
        runs = {offer.group_key: self.shown.run(offer).run_id for offer in self.shown.offers()}
        return [runs[name] for name in names]


def test_a_burst_of_failures_is_one_message_that_names_each_once(told: Told) -> None:
    assert told.tick() == "nothing failed"
    runs = told.fail("run7.dat", "run8.dat", "run9.dat")

    assert told.tick() == "told of 3 failures"
    (got,) = told.hook.got
    assert {one["name"] for one in got["failures"]} == set(runs)
    first = next(one for one in got["failures"] if one["name"] == runs[0])
    assert first["title"] == f"run {runs[0][:8]} of watch_incoming (run7.dat) failed"
    assert "the file says it is broken" in first["reason"]
    assert first["labels"] == {"job": "watch_incoming", "watch": "incoming"}
    assert told.tick() == "nothing failed"
    assert len(told.hook.got) == 1


def test_a_check_is_told_again_only_after_it_passed(
    make: SiteMaker, instance: dg.DagsterInstance, hook: Hook
) -> None:
    section = f'[notify]\nwebhook = "{hook.url}"\non = ["check_failure"]\n'
    told = Told(show(make(BROKEN, more=section + PLUGIN_SECTION), instance), hook)
    told.tick()
    told.fail("run7.dat")
    told.tick()
    told.fail("run8.dat")
    assert told.tick() == "nothing failed"

    for name in ("run7.dat", "run8.dat"):
        (told.shown.site.incoming / name).unlink()
    told.shown.site.deliver("good.dat")
    told.shown.site.settle()
    assert told.shown.run(told.shown.offers()[0]).success
    assert told.tick() == "nothing failed"
    told.fail("run9.dat")
    told.tick()
    assert [one["name"] for one in told.hook.got[1]["failures"]] == ["incoming/catalog:failed_groups"]


def test_what_does_not_get_through_fails_the_tick_and_comes_again_with_what_failed_since(told: Told) -> None:
    told.tick()
    (first,) = told.fail("run7.dat")
    told.hook.status = 500
    with pytest.raises(NotifyError, match="answered with status 500"):
        told.tick()
    assert (told.tick() or "").endswith("the next attempt is at 2026-01-01 12:01:03 UTC")
    assert len(told.hook.got) == 1

    (second,) = told.fail("run8.dat")
    told.hook.status = 204
    told.shown.site.tick_clock(60)
    assert told.tick() == "told of 2 failures"
    assert {first, second} == {one["name"] for one in told.hook.got[1]["failures"]}
    assert unreached(told.shown.site.project) == []


def test_runs_of_others_in_the_same_dagster_are_theirs(told: Told) -> None:
    @dg.op
    def break_down() -> None:
        raise dg.Failure("not ours")

    @dg.job
    def of_others() -> None:
        break_down()

    told.tick()
    of_others.execute_in_process(instance=told.shown.instance, raise_on_error=False)
    assert told.tick() == "nothing failed"


def test_the_log_gets_a_line_for_what_has_none_yet(
    make: SiteMaker, instance: dg.DagsterInstance, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    rules = BROKEN + '[[single.integrity]]\ntype = "min_size"\nvalue = 1\n'
    told = Told(show(make(rules, more=PLUGIN_SECTION), instance), hook)
    told.tick("log")
    (run,) = told.fail("run7.dat")
    with caplog.at_level(logging.DEBUG, logger=alert_sensors.__name__):
        told.tick("log")
        died = Failure("run_failure", "run-2", "run run-2 failed", "its process is gone", "2026-01-01")
        told.shown.site.deliver("empty.dat", content=b"")
        told.shown.site.settle()
        told.fail("run8.dat")  # its run reports the check that the file failed, too
        told.tick("log")
        alert_sensors.SENDERS["log"](told.shown.site.project.config, [died])
    lines = [one for one in caplog.records if one.name == alert_sensors.__name__]
    assert [one.levelname for one in lines] == ["DEBUG", "DEBUG", "DEBUG", "ERROR"]
    said = lines[0].getMessage()
    assert said.startswith(f"run {run[:8]} of watch_incoming (run7.dat) failed: the group failed: run7")
    assert any(one.getMessage().startswith("check integrity of incoming/catalog fails") for one in lines)
    assert lines[-1].getMessage() == "run run-2 failed: its process is gone"


def test_an_arrival_is_told_once_when_it_is_late_and_once_when_it_comes_after_all(
    make: SiteMaker, instance: dg.DagsterInstance, hook: Hook
) -> None:
    expect = '[{ every = "1h", within = "5m", severity = "error", group_key = "f_{start:%H}" }]'
    section = f'[notify]\nwebhook = "{hook.url}"\n'
    told = Told(show(make(SINGLE, watch={"expect": expect}, more=section + PLUGIN_SECTION), instance), hook)
    site = told.shown.site
    site.tick()
    assert told.tick() == "nothing failed"
    site.tick(3600 + 301)
    assert told.tick() == "told of 1 failure"
    (late,) = hook.got[0]["failures"]
    assert (late["kind"], late["name"]) == ("arrival", "incoming:f_13:2026-01-01T13:00Z")
    assert (late["title"], late["reason"]) == (
        "f_13 of incoming is late",
        "its time was 2026-01-01 13:00:00 UTC",
    )
    assert late["labels"] == {"watch": "incoming", "state": "late", "severity": "ERROR"}
    site.tick(3600)  # it is missed now, which is no other failure; the next one is late
    told.tick()
    assert [one["title"] for one in hook.got[1]["failures"]] == ["f_14 of incoming is late"]
    site.deliver("f_13")
    site.settle()
    told.tick()
    assert hook.got[2]["text"].splitlines()[0].endswith("no failure, 1 came after all")
    assert [one["is_over"] for one in hook.got[2]["failures"]] == [True]
    assert told.tick() == "nothing failed"


def test_only_what_is_asked_for_is_told(make: SiteMaker, instance: dg.DagsterInstance, hook: Hook) -> None:
    section = f'[notify]\nwebhook = "{hook.url}"\non = ["check_failure"]\n'
    told = Told(show(make(BROKEN, more=section + PLUGIN_SECTION), instance), hook)
    told.tick()
    told.fail("run7.dat")
    told.tick()
    assert [one["kind"] for one in hook.got[0]["failures"]] == ["check_failure"]


def test_nothing_of_a_secret_is_in_what_dagster_keeps(told: Told) -> None:
    told.tick()
    told.fail("run7.dat")
    told.tick()
    shown = json.dumps([str(one) for one in told.shown.defs.sensors or ()]) + (told.cursor or "")
    assert "hidden" not in shown
    assert "secret" not in shown
