"""A Dagster project that exists loads Carbonation in both ways, and its lineage joins."""

import importlib
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest
from dagster.components.scaffold.scaffold import get_scaffolder

from carbonation_core.db import migrate
from carbonation_core.delivery.observe import observe
from carbonation_core.pipeline.claim import claim
from carbonation_core.project import open_project, open_unchecked
from carbonation_dagster import CarbonationComponent, build_defs
from carbonation_dagster.component import CarbonationScaffolder
from carbonation_dagster.defs.naming import run_tags

OUTSIDE = Path(__file__).parents[1] / "outside"
REPORT, ARCHIVE = dg.AssetKey("report"), dg.AssetKey(["archive", "main"])

pytestmark = pytest.mark.filterwarnings(
    # Dagster's own: what loads a component gives its checks an argument that is still beta.
    r"ignore:Parameter `execution_type` of function `AssetsDefinition\.__init__` is currently in beta"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the project, to be imported from."""
    shutil.copytree(OUTSIDE, tmp_path / "outside", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(str(tmp_path / "outside"))
    yield tmp_path / "outside"
    for name in [name for name in sys.modules if name.partition(".")[0] == "their_project"]:
        del sys.modules[name]


def loaded(way: str) -> dg.Definitions:
    """The project's definitions, by code or by component."""
    module: ModuleType = importlib.import_module(f"their_project.{way}")
    defs = module.defs
    return defs if isinstance(defs, dg.Definitions) else defs()  # type: ignore[no-any-return]


@pytest.mark.parametrize("way", ["by_code", "definitions"])
def test_its_asset_depends_on_what_carbonation_archives(project: Path, way: str) -> None:
    defs = loaded(way)

    graph = defs.resolve_asset_graph()
    assert graph.get(REPORT).parent_keys == {ARCHIVE}
    assert graph.get(ARCHIVE).parent_keys == {dg.AssetKey(["incoming", "catalog"])}
    assert graph.get(REPORT).group_name == "reports"
    assert {sensor.name for sensor in defs.sensors or ()} >= {"watch_incoming", "changes"}
    dg.Definitions.validate_loadable(defs)


def test_both_ways_define_the_same(project: Path) -> None:
    graphs = [loaded(way).resolve_asset_graph() for way in ("by_code", "definitions")]
    first, second = ([*map(str, sorted(graph.get_all_asset_keys()))] for graph in graphs)
    assert first == second
    assert graphs[0].asset_check_keys == graphs[1].asset_check_keys
    names = [sorted(job.name for job in loaded(way).jobs or ()) for way in ("by_code", "definitions")]
    assert names[0] == names[1]


def test_what_a_run_archives_makes_its_asset_due(project: Path) -> None:
    defs = loaded("by_code")
    ours = open_unchecked(project / "station" / "config.toml")
    migrate.upgrade(ours.engine, ours.plugin.migrations_path)
    (project / "station" / "incoming").mkdir()
    (project / "station" / "incoming" / "a.dat").write_bytes(b"bytes")
    with dg.DagsterInstance.ephemeral() as instance:
        report = dg.AssetSelection.assets(REPORT)
        before = dg.evaluate_automation_conditions(defs, instance=instance, asset_selection=report)
        assert before.total_requested == 0

        station = open_project(project / "station" / "config.toml")
        observe(station, "incoming")
        while not (offers := claim(station, "incoming", "here")):
            observe(station, "incoming")
        job = defs.resolve_job_def("watch_incoming")
        assert job.execute_in_process(instance=instance, tags=run_tags(offers[0])).success

        after = dg.evaluate_automation_conditions(
            defs, instance=instance, asset_selection=report, cursor=before.cursor
        )
        assert after.get_requested_partitions(REPORT) == {None}
    for one in (ours, station):
        one.engine.dispose()


def test_dagsters_command_line_finds_the_component() -> None:
    """`dg check yaml` and `dg list components` look where the entry point leads."""
    project = tomllib.loads((OUTSIDE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (module,) = project["entry-points"]["dagster_dg_cli.registry_modules"].values()
    assert "CarbonationComponent" in dir(importlib.import_module(module))
    assert issubclass(CarbonationComponent, dg.Component)


def test_a_component_takes_a_prefix_and_a_group(project: Path) -> None:
    component = CarbonationComponent(
        config=str(project / "station" / "config.toml"), key_prefix=["north"], group_name="files"
    )
    defs = component.build_defs(dg.ComponentTree.for_test().load_context)
    keys = defs.resolve_asset_graph().get_all_asset_keys()
    assert dg.AssetKey(["north", "archive", "main"]) in keys


def test_what_dagster_scaffolds_loads(project: Path) -> None:
    """As `dg scaffold defs carbonation_dagster.CarbonationComponent second --config …` does."""
    folder = project / "their_project/defs/station"
    (folder / "defs.yaml").unlink()
    scaffolder = get_scaffolder(CarbonationComponent)
    assert isinstance(scaffolder, CarbonationScaffolder)
    params = scaffolder.get_scaffold_params()(config="../../../station/config.toml")
    name = "carbonation_dagster.CarbonationComponent"
    scaffolder.scaffold(dg.ScaffoldRequest(name, folder, "yaml", project, params))

    assert ARCHIVE in loaded("definitions").resolve_asset_graph().get_all_asset_keys()


def test_definitions_bring_no_executor_of_their_own(project: Path) -> None:
    theirs = dg.Definitions(executor=dg.multiprocess_executor)
    merged = dg.Definitions.merge(build_defs(project / "station" / "config.toml"), theirs)
    assert merged.executor is dg.multiprocess_executor
