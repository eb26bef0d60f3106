"""What a run shows of its batch, in each way that a batch can come out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carbonation_core.db.clock import utc_now
from carbonation_core.pipeline.claim import give_back
from carbonation_core.pipeline.work import Outcome
from carbonation_dagster.environment import STOP_FILE
from tests.dagster.conftest import BROKEN, PLUGIN_SECTION, Shown, show
from tests.site import PLUGIN, SiteMaker, touch

ALL_WELL = dict.fromkeys(("integrity", "failed_groups", "completeness", "verified_transfers"), True)


def one_batch(shown: Shown, **files: bytes) -> dg.ExecuteInProcessResult:
    """A run of one batch of all these files."""
    for name, content in files.items():
        shown.site.deliver(f"{name}.dat", content=content)
    shown.site.settle()
    (offer,) = shown.offers()
    return shown.run(offer)


@pytest.fixture
def packed(shown: Shown) -> Shown:
    """Whatever is ready is packed in one batch."""
    service = shown.site.project.config.service.model_copy(update={"single_group_runs": 0})
    object.__setattr__(
        shown.site.project, "config", shown.site.project.config.model_copy(update={"service": service})
    )
    return shown


def test_a_batch_that_was_archived_is_materialised_in_catalog_and_archive(packed: Shown) -> None:
    result = one_batch(packed, a=b"1", b=b"22")

    assert result.success
    made = packed.materialised(result)
    assert set(made) == {"incoming/delivery", "incoming/catalog", "archive/main"}
    assert made["incoming/catalog"]["groups"].value == 2
    assert made["archive/main"]["files"].value == 2
    assert made["archive/main"]["bytes"].value == 3
    catalog = {name: value.value for name, value in made["incoming/catalog"].items()}
    assert {name: catalog[name] for name in ("groups", "files", "bytes", "failures", "batch size")} == {
        "groups": 2,
        "files": 2,
        "bytes": 3,
        "failures": 0,
        "batch size": 2,
    }
    # The test's clock: first seen, and three seconds later settled and archived.
    assert catalog["seconds to archive p50"] == catalog["seconds to archive p95"] == 3
    assert len(made["incoming/catalog"]["table"].records) == 2
    assert made["incoming/catalog"]["rules digest"].value == packed.reports[0].rules_digest
    assert packed.checks(result) == ALL_WELL
    assert set(packed.site.archived()) == {"a.dat", "b.dat"}


def test_a_batch_in_which_one_failed_is_materialised_with_a_failed_check_and_a_failed_run(
    packed: Shown,
) -> None:
    result = one_batch(packed, good=b"1", bad=b"broken")

    assert not result.success
    assert {"incoming/catalog", "archive/main"} <= set(packed.materialised(result))
    assert packed.checks(result) == {**ALL_WELL, "failed_groups": False}
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_key == "incoming__catalog.archive"
    told = failure.step_failure_data.user_failure_data
    assert told.description.startswith("1 of 2 groups failed: bad.dat: ")
    assert "the file says it is broken" in told.description
    assert told.description.endswith("Those that wait for another attempt come again by themselves.")
    first = told.metadata["table"].records[0].data
    assert (first["group"], first["outcome"], first["stage"]) == ("bad.dat", "retry_pending", "completeness")


def test_a_batch_in_which_none_was_archived_is_not_materialised(shown: Shown) -> None:
    result = one_batch(shown, bad=b"broken")

    assert not result.success
    # One group: the step that is red is that in which it failed, and says why.
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_key == "incoming__catalog.extract"
    assert failure.step_failure_data.user_failure_data.description.startswith("the group failed: bad.dat: ")
    assert [report.groups[0].outcome for report in shown.reports] == ["retry_pending"]
    assert set(shown.materialised(result)) == {"incoming/delivery"}  # something was delivered
    assert shown.checks(result) == {"integrity": True, "failed_groups": False, "completeness": True}


def test_the_button_looks_and_processes_what_is_ready(shown: Shown) -> None:
    shown.site.deliver(*(f"{n}.dat" for n in range(3)))
    shown.site.settle()

    result = shown.run()

    assert result.success
    assert set(shown.site.archived()) == {"0.dat", "1.dat", "2.dat"}
    assert shown.materialised(result)["incoming/catalog"]["groups"].value == 3


def test_the_button_takes_all_batches_however_many(shown: Shown) -> None:
    service = shown.site.project.config.service.model_copy(update={"groups_per_run": 2})
    config = shown.site.project.config.model_copy(update={"service": service})
    object.__setattr__(shown.site.project, "config", config)
    shown.site.deliver(*(f"{n}.dat" for n in range(7)))
    shown.site.settle()

    assert shown.run().success
    assert len(shown.site.archived()) == 7


@pytest.mark.parametrize("job", ["watch_incoming", "process_now"])
def test_the_button_takes_a_group_once_though_it_comes_back(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    def with_a_restless_sender(file_paths: list[Path]) -> dict[str, Any]:
        other = "b.dat" if file_paths[0].name == "a.dat" else "a.dat"
        touch(shown.site.incoming / other, b"other bytes")
        return {}

    monkeypatch.setitem(PLUGIN.extractors, "broken", with_a_restless_sender)
    shown.site.deliver("a.dat", "b.dat")
    shown.site.settle()

    assert shown.run(job=job).success
    assert [(len(report.groups), report.groups[0].outcome) for report in shown.reports] == [
        (1, Outcome.ARCHIVED),
        (1, Outcome.WAITING),
    ]


def test_the_button_takes_a_group_once_though_it_is_due_again_at_once(
    make: SiteMaker, instance: dg.DagsterInstance
) -> None:
    site = make(BROKEN, service={"retry_delay": '"0.001s"'}, more=PLUGIN_SECTION)
    shown = show(site, instance)
    site.deliver("bad.dat", content=b"broken")
    site.settle()
    real_time = replace(site.project, clock=utc_now)
    shown.carbonation._project = real_time

    assert not shown.run().success
    assert site.group("bad.dat").attempts == 1


def test_the_button_without_anything_ready_materialises_nothing(shown: Shown) -> None:
    result = shown.run()

    assert result.success
    assert shown.materialised(result) == {}


def test_a_run_whose_batch_was_given_back_ends_well_and_does_nothing(shown: Shown) -> None:
    shown.site.deliver("a.dat")
    shown.site.settle()
    (offer,) = shown.offers()
    give_back(shown.site.project, offer.batch_id, "for a test")

    result = shown.run(offer)

    assert result.success
    assert shown.materialised(result) == {}
    assert shown.site.archived() == {}


def test_of_a_batch_that_is_left_to_others_a_run_says_so_once(packed: Shown) -> None:
    packed.site.deliver("a.dat", "b.dat")
    packed.site.settle()
    (offer,) = packed.offers()
    give_back(packed.site.project, offer.batch_id, "for a test")

    result = packed.run(offer)

    said = [event.user_message for event in packed.instance.all_logs(result.run_id)]
    (line,) = [message for message in said if message.startswith("left to others")]
    assert line == f"left to others: batch {offer.batch_id} has ended, or another run works on it"


def test_a_service_that_stops_gives_the_groups_back(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = shown.site.directory / "stopping"
    mark.touch()
    monkeypatch.setenv(STOP_FILE, str(mark))

    result = one_batch(shown, a=b"1")

    assert result.success
    assert [group.outcome for group in shown.reports[0].groups] == [Outcome.GIVEN_BACK]
    monkeypatch.delenv(STOP_FILE)
    (offer,) = shown.offers()
    assert shown.run(offer).success
    assert set(shown.site.archived()) == {"a.dat"}


def test_one_run_of_all_watches_serves_each(shown: Shown) -> None:
    shown.site.deliver("a.dat")
    shown.site.settle()

    result = shown.run(job="process_now")

    assert result.success
    assert set(shown.site.archived()) == {"a.dat"}


def test_checks_run_alone_say_how_the_watch_stands(packed: Shown) -> None:
    one_batch(packed, good=b"1", bad=b"broken")
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.all_asset_checks())
    defs = dg.Definitions.merge(packed.defs, dg.Definitions(jobs=[job]))

    result = defs.resolve_job_def("checks").execute_in_process(instance=packed.instance)

    of_the_watch = {"integrity": True, "failed_groups": False, "completeness": True}
    assert of_the_watch.items() <= packed.checks(result).items()


def test_checks_say_how_the_watch_stands_and_not_only_the_batch(shown: Shown) -> None:
    assert shown.checks(one_batch(shown, bad=b"broken"))["failed_groups"] is False

    shown.site.deliver("good.dat")
    shown.site.settle()
    (offer,) = shown.offers()
    assert shown.checks(shown.run(offer)) == {**ALL_WELL, "failed_groups": False}

    (shown.site.incoming / "bad.dat").unlink()
    shown.site.deliver("better.dat")
    shown.site.settle()
    (offer,) = shown.offers()
    assert shown.checks(shown.run(offer)) == ALL_WELL


def test_a_delivery_is_materialised_by_the_run_that_takes_from_it(shown: Shown) -> None:
    result = one_batch(shown, a=b"1")

    assert shown.materialised(result)["incoming/delivery"]["groups"].value == 1


def test_each_decision_is_a_line_of_its_run_and_what_was_archived_shares_one(packed: Shown) -> None:
    result = one_batch(packed, good=b"1", bad=b"broken")

    said = [
        record.user_message
        for record in packed.instance.all_logs(result.run_id)
        if record.dagster_event is None
    ]
    assert said[0].startswith("bad.dat: retry_pending: ")
    assert "the file says it is broken" in said[0]
    assert said[1:] == ["archived 1 group: good.dat"]


def test_each_decision_is_said_once_however_many_batches_the_button_took(shown: Shown) -> None:
    service = shown.site.project.config.service.model_copy(
        update={"groups_per_run": 1, "single_group_runs": 0}
    )
    config = shown.site.project.config.model_copy(update={"service": service})
    object.__setattr__(shown.site.project, "config", config)
    names = [f"{number}.dat" for number in range(3)]
    shown.site.deliver(*names, content=b"broken")
    shown.site.settle()

    result = shown.run()

    said = [
        record.user_message.partition(": retry_pending")[0]
        for record in shown.instance.all_logs(result.run_id)
        if record.dagster_event is None and ": retry_pending" in record.user_message
    ]
    assert sorted(said) == names


def test_a_transfer_that_fails_turns_the_check_of_its_archive(
    packed: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(directory: str) -> tuple[int, int]:
        return 1, 0

    with monkeypatch.context() as patch:
        patch.setattr("carbonation_core.disk.file_system.free_space", full)
        result = one_batch(packed, a=b"1")
    assert not result.success
    assert packed.checks(result) == {**ALL_WELL, "failed_groups": False, "verified_transfers": False}
    (check,) = [
        event.event_specific_data
        for event in result.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION"
        and event.event_specific_data.check_name == "verified_transfers"
    ]
    assert check.asset_key.to_user_string() == "archive/main"
    assert check.description.startswith("a.dat: no space for 1 byte")
    assert check.metadata["table"].records[0].data["group"] == "a.dat"


def test_directories_are_links_where_a_browser_finds_them(
    make: SiteMaker, instance: dg.DagsterInstance
) -> None:
    archive = {"destination": '"archive/{category}"', "url": '"https://files.example.org/data/"'}
    rules = '[single.metadata]\nextract = "sizes"\n'
    shown = show(make(rules, archive=archive, more=PLUGIN_SECTION), instance)

    made = shown.materialised(one_batch(shown, a=b"lidar 2"))

    directory = shown.site.archive / "lidar 2"
    link = f"- [`{directory}`](https://files.example.org/data/lidar%202)"
    assert made["archive/main"]["directories"].value == link


def test_a_fault_of_ours_in_a_stage_fails_the_run_and_gives_the_batch_back(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise OSError("no database today")

    with monkeypatch.context() as patch:
        patch.setattr("carbonation_core.pipeline.stages.select", break_down)
        assert not one_batch(shown, a=b"1").success
    assert shown.site.group("a.dat").batch_id is None
