"""What is offered to those who set up Dagster themselves is what `carbonation run` would write."""

from pathlib import Path

import yaml

from carbonation_dagster.service.home import dagster_yaml
from tests.site import SiteMaker

FILE = Path(__file__).parents[2] / "deploy" / "postgres" / "dagster.yaml"


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
