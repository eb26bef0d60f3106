"""The day of an operator who knows Dagster, in a browser and over GraphQL, against a real service."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carbonation_dagster.defs.messages import WHAT_TO_DO
from tests.core.reports.test_notify import Hook
from tests.dagster._helpers.browser import Browser, opened
from tests.dagster._helpers.running import Running, running
from tests.site import PAIRS, Site, make_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("operator")]

ROOT = Path(__file__).parents[2]
GROUPS = 200
PLUGIN = """
import time
from pathlib import Path

from carbonation_core import Plugin
from tests.site import File

HERE = Path(__file__).parent


def careful(file_paths):
    if file_paths[0].stem == "run7" and not (HERE / "mended").exists():
        raise ValueError("the header names no instrument")
    while file_paths[0].stem == "slow" and (HERE / "hold").exists():
        (HERE / "extracting").touch()
        time.sleep(0.05)
    return {"category": "lidar"}


plugin = Plugin(File, extractors={"careful": careful})
"""
REEXECUTE = """
mutation($parameters: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $parameters) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
LAUNCH = """
mutation($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } }
}
"""
TERMINATE = """
mutation($runId: String!) { terminateRun(runId: $runId) { __typename } }
"""
RUN = """
query($runId: ID!) { runOrError(runId: $runId) { ... on Run {
  status tags { key value }
  eventConnection(limit: 1000) { events {
    __typename
    ... on MessageEvent { message }
    ... on ExecutionStepFailureEvent { failureMetadata { description } }
    ... on ExecutionStepOutputEvent { metadataEntries { label ... on IntMetadataEntry { intValue } } }
  } }
} } }
"""
CHECKS = """
query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetMaterializations(limit: 1) { runId }
  assetChecksOrError { ... on AssetChecks { checks {
    name executionForLatestMaterialization { status evaluation { description } } } } }
} } }
"""
SCHEMA = """
query($selector: PipelineSelector!) { runConfigSchemaOrError(selector: $selector) { ... on RunConfigSchema {
  allConfigTypes { ... on CompositeConfigType { fields { name description isRequired } } }
} } }
"""


class Operator:
    """What an operator does over GraphQL, as the UI's buttons do."""

    def __init__(self, service: Running) -> None:
        self.service = service

    @property
    def site(self) -> Site:
        return self.service.site

    def run(self, run_id: str) -> Any:
        return self.service.ask(RUN, runId=run_id)["runOrError"]

    def ended(self, run_id: str) -> Any:
        self.service.wait_for(lambda: self.run(run_id)["status"] in ("SUCCESS", "FAILURE", "CANCELED"))
        return self.run(run_id)

    def runs_of(self, job: str, *statuses: str) -> list[str]:
        query = "{ runsOrError { ... on Runs { results { runId status jobName } } } }"
        found = self.service.ask(query)["runsOrError"]["results"]
        return [
            r["runId"] for r in found if r["jobName"] == job and (not statuses or r["status"] in statuses)
        ]

    def again(self, run_id: str, strategy: str) -> Any:
        parameters = {"parentRunId": run_id, "strategy": strategy}
        done = self.service.ask(REEXECUTE, parameters=parameters)["launchRunReexecution"]
        return self.ended(done["run"]["runId"])

    def launch(self, job: str, **ops: Any) -> Any:
        selector = {
            "repositoryLocationName": "carbonation",
            "repositoryName": "__repository__",
            "jobName": job,
        }
        config = {"ops": {name: {"config": config} for name, config in ops.items()}}
        parameters = {"selector": selector, "runConfigData": json.dumps(config)}
        done = self.service.ask(LAUNCH, parameters=parameters)["launchRun"]
        assert done["__typename"] == "LaunchRunSuccess", done
        return self.ended(done["run"]["runId"])

    def checks(self, *path: str) -> dict[str, str]:
        """How the checks of an asset came out after its last materialisation."""
        found = self.service.ask(CHECKS, key={"path": path})["assetNodeOrError"]["assetChecksOrError"]
        return {
            check["name"]: check["executionForLatestMaterialization"]["status"]
            for check in found["checks"]
            if check["executionForLatestMaterialization"]
        }


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> Iterator[Operator]:
    """A service with a batch of 200 groups, one of which failed."""
    directory = tmp_path_factory.mktemp("station")
    site = make_site(
        directory,
        f'{PAIRS}\n[pairs.metadata]\nextract = "careful"\n',
        watch={"settle_seconds": "0.2", "owners": '["ops@example.org"]', "tags": '{ instrument = "lidar" }'},
        archive={"destination": '"archive/{category}"'},
        service={"single_group_runs": "0", "poll_interval": '"1s"'},
        more=(
            '[plugins]\npackage = "careful_plugin"\n'
            f'[notify]\nwebhook = "{hook.url}"\ntoken = "hidden"\ninterval = "1s"\n'
        ),
    )
    (directory / "careful_plugin.py").write_text(PLUGIN, encoding="utf-8")
    for number in range(GROUPS):
        site.deliver(f"run{number}.dat", f"run{number}.json", content=b"%d" % number)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "always::DeprecationWarning"}
    with running(site, environment=environment) as service:
        made = Operator(service)
        service.wait_for(lambda: made.runs_of("watch_incoming", "FAILURE"))
        yield made
        said = service.said()
    site.project.engine.dispose()
    warned = [line for line in said.splitlines() if "Warning: " in line]
    assert [line for line in warned if "/carbonation_" in line.partition("Warning: ")[0]] == []
    assert "hidden" not in said


@pytest.fixture
def browser() -> Iterator[Browser]:
    with opened() as made:
        yield made


@pytest.fixture
def repaired(operator: Operator) -> Operator:
    """The same once run7 is in the archive, also where there is no browser to bring it there."""
    (operator.site.directory / "mended").touch()
    if not operator.runs_of("watch_incoming", "SUCCESS"):
        operator.again(operator.runs_of("watch_incoming", "FAILURE")[-1], "FROM_FAILURE")
    return operator


def archived_files(site: Site) -> dict[str, int]:
    """When each file of the archive was last changed in any way."""
    return {str(path): path.stat().st_ctime_ns for path in site.archive.rglob("*") if path.is_file()}


def test_one_of_200_groups_fails_and_the_failure_names_it(operator: Operator) -> None:
    (run_id,) = operator.runs_of("watch_incoming")
    run = operator.run(run_id)

    assert len(archived_files(operator.site)) == 2 * (GROUPS - 1)
    (failure,) = [
        e for e in run["eventConnection"]["events"] if e["__typename"] == "ExecutionStepFailureEvent"
    ]
    line = next(number for number, line in enumerate(PLUGIN.splitlines(), 1) if "the header" in line)
    assert failure["failureMetadata"]["description"] == (
        '1 of 200 groups failed: run7: extractor "careful" raised ValueError: the header names no '
        f"instrument ({operator.site.directory}/careful_plugin.py, line {line}). {WHAT_TO_DO}"
    )
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert (tags["carbonation/groups"], tags["carbonation/failed"]) == ("200", "run7")
    assert operator.checks("incoming", "catalog") == {
        "completeness": "SUCCEEDED",
        "failed_groups": "FAILED",
        "integrity": "SUCCEEDED",
    }


def test_whoever_is_to_be_told_is_told_with_links_into_the_ui(operator: Operator, hook: Hook) -> None:
    (run_id,) = operator.runs_of("watch_incoming")
    operator.service.wait_for(lambda: bool(hook.got))

    (failure,) = [one for got in hook.got for one in got["failures"]]
    assert failure["kind"] == "run_failure"
    assert failure["url"] == f"http://127.0.0.1:{operator.service.port}/runs/{run_id}"
    assert "run7: " in failure["reason"]
    assert hook.headers[0]["Authorization"] == "Bearer hidden"


def begin(operator: Operator, browser: Browser) -> None:
    """The page that one comes to first: it leads to another, which would undo a click that comes too soon."""
    browser.go(f"http://127.0.0.1:{operator.service.port}/")
    browser.wait_for("watch_incoming")


def test_the_graph_of_assets_shows_the_way_from_delivery_to_archive(
    operator: Operator, browser: Browser
) -> None:
    begin(operator, browser)
    browser.click("Lineage")
    browser.wait_for("watch_incoming", "archives", "rules")
    browser.click("Catalog")
    said = browser.wait_for("archive / main", "incoming / catalog", "incoming / delivery")
    assert "Groups of `incoming` that are complete, checked, described and archived" in said
    browser.go(f"http://127.0.0.1:{operator.service.port}/assets/incoming/catalog")
    browser.wait_for("ops@example.org", "instrument", "seconds to archive p95", "batch size", "Description")


def test_an_operator_finds_why_run7_is_not_archived_repairs_it_and_sees_all_turn_green(
    operator: Operator, browser: Browser
) -> None:
    site = operator.site
    (run_id,) = operator.runs_of("watch_incoming")
    begin(operator, browser)
    browser.click("Runs")
    browser.wait_for("carbonation/failed: run7")
    browser.click(run_id[:8])
    browser.wait_for("1 of 200 groups failed: run7: ", "the header names no instrument")
    assert browser.clicks <= 4

    begin(operator, browser)
    browser.click("Catalog")
    browser.click("incoming / catalog")
    browser.click("Checks")
    browser.click("failed_groups")
    browser.wait_for("run7", "retry_pending", "the header names no instrument", "launch the job retry")
    assert browser.clicks <= 4

    before = archived_files(site)
    (site.directory / "mended").touch()
    browser.go(f"http://127.0.0.1:{operator.service.port}/runs/{run_id}")
    browser.wait_for("Re-execute all (*)")
    browser.click_right_of("Re-execute all (*)")  # the arrow that shows what else there is
    browser.click("From failure")
    operator.service.wait_for(lambda: len(operator.runs_of("watch_incoming", "SUCCESS")) == 1)

    after = archived_files(site)
    assert {Path(path).name for path in after.keys() - before.keys()} == {"run7.dat", "run7.json"}
    assert {path: when for path, when in after.items() if path in before} == before
    browser.go(f"http://127.0.0.1:{operator.service.port}/assets/incoming/catalog?view=checks")
    browser.wait_for("failed_groups Succeeded")
    browser.go(f"http://127.0.0.1:{operator.service.port}/assets/incoming/catalog")
    browser.wait_for("Latest materialization")
    assert operator.checks("incoming", "catalog") == dict.fromkeys(
        ("completeness", "failed_groups", "integrity"), "SUCCEEDED"
    )


def test_from_failure_again_or_all_again_changes_nothing(repaired: Operator) -> None:
    operator = repaired
    failed = operator.runs_of("watch_incoming", "FAILURE")
    before, feed = archived_files(operator.site), operator.site.feed()
    for strategy in ("FROM_FAILURE", "ALL_STEPS"):
        assert operator.again(failed[-1], strategy)["status"] == "SUCCESS"
    assert archived_files(operator.site) == before
    assert operator.site.feed() == feed


def test_a_cancelled_run_gives_its_groups_back_at_once(operator: Operator) -> None:
    site, service = operator.site, operator.service
    (site.directory / "hold").touch()
    site.deliver("slow.dat", "slow.json")
    service.wait_for((site.directory / "extracting").exists)
    (run_id,) = operator.runs_of("watch_incoming", "STARTED")
    first = site.group("slow").batch_id

    assert service.ask(TERMINATE, runId=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    assert operator.ended(run_id)["status"] == "CANCELED"
    taken_again = service.wait_for(lambda: site.group("slow").batch_id not in (None, first))
    assert taken_again < 30  # a lease alone would hold it for 40 s
    assert site.group("slow").attempts == 0

    (site.directory / "hold").unlink()
    service.wait_for(lambda: site.group("slow").complete)
    before = archived_files(site)
    assert operator.again(run_id, "ALL_STEPS")["status"] == "SUCCESS"
    assert archived_files(site) == before


def test_jobs_are_launched_with_configuration_that_says_what_it_means(repaired: Operator) -> None:
    operator = repaired
    selector = {
        "repositoryLocationName": "carbonation",
        "repositoryName": "__repository__",
        "pipelineName": "retry",
    }
    schema = operator.service.ask(SCHEMA, selector=selector)["runConfigSchemaOrError"]
    said = {
        field["name"]: (field["description"], field["isRequired"])
        for kind in schema["allConfigTypes"]
        for field in kind.get("fields", ())
    }
    assert said["group_key"] == ("this group only", False)
    assert said["watch"] == ("of this watch only", False)
    assert not said["status"][1]

    run = operator.launch("retry", retry_groups={"watch": "incoming", "group_key": "run7"})
    assert run["status"] == "SUCCESS"
    (output,) = [e for e in run["eventConnection"]["events"] if e["__typename"] == "ExecutionStepOutputEvent"]
    numbers = {entry["label"]: entry.get("intValue") for entry in output["metadataEntries"]}
    assert numbers["files tried again"] == 0

    assert operator.launch("purge_history", purge={"dry_run": True})["status"] == "SUCCESS"


def test_a_bad_delivery_turns_a_check_and_no_run(operator: Operator, browser: Browser) -> None:
    site = operator.site
    site.deliver("run300.dat", content=b"")
    site.deliver("run300.json")
    operator.service.wait_for(lambda: site.statuses().get("run300.dat") == "integrity_failed")
    failed = operator.runs_of("watch_incoming", "FAILURE")
    site.deliver("run301.dat", "run301.json")
    operator.service.wait_for(lambda: operator.checks("incoming", "catalog").get("integrity") == "FAILED")
    assert operator.runs_of("watch_incoming", "FAILURE") == failed

    browser.go(f"http://127.0.0.1:{operator.service.port}/assets/incoming/catalog?view=checks")
    browser.click("integrity")
    browser.wait_for("run300", "has 0 bytes", "Failed")
