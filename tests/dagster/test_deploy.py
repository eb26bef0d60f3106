"""What is offered to those who set up Dagster themselves is what `carbonation run` would write."""

from pathlib import Path

import yaml

from carbonation_dagster.service.home import dagster_yaml
from tests.site import SiteMaker

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = DEPLOY / "postgres" / "dagster.yaml"


def test_the_file_for_postgresql_differs_in_its_storage_alone(make: SiteMaker, tmp_path: Path) -> None:
    offered = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    ours = dagster_yaml(make().project.config, tmp_path)
    assert offered.keys() == ours.keys()
    varying = {"storage", "sensors"}  # the latter by the number of watches
    for key in (offered.keys() & ours.keys()) - varying:
        assert offered[key] == ours[key]
    variables = {
        value["env"]
        for value in offered["storage"]["custom"]["config"]["postgres_db"].values()
        if "env" in value
    }
    assert {
        f"DAGSTER_PG_{name}" for name in ("USERNAME", "PASSWORD", "HOST", "PORT", "DATABASE")
    } == variables


def test_the_file_for_celery_differs_in_who_takes_the_runs_alone() -> None:
    offered, postgres = (
        yaml.safe_load((DEPLOY / name / "dagster.yaml").read_text(encoding="utf-8"))
        for name in ("celery", "postgres")
    )
    launcher = offered.pop("run_launcher")
    postgres.pop("run_launcher")
    assert offered == postgres
    assert launcher["class"] == "QueueRunLauncher"
    assert launcher["config"] == {"broker": {"env": "CARBONATION_BROKER"}}
