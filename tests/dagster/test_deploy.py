"""What is offered to those who set up Dagster themselves is what `carbonation run` would write."""

import re
from pathlib import Path

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type

from carbonation_core.config.secrets import KEYS, variable_of
from carbonation_dagster.cli import COMMANDS
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


def read(*names: str) -> str:
    return DEPLOY.joinpath(*names).read_text(encoding="utf-8")


def test_what_the_file_for_celery_takes_from_the_environment_is_in_the_file_for_it() -> None:
    asked = set(re.findall(r"env: (\w+)", read("celery", "dagster.yaml")))
    assert set(re.findall(r"^(\w+)=", read("celery", "environment"), re.MULTILINE)) == asked


def test_containers_have_the_variables_that_the_files_ask_for_and_commands_that_there_are() -> None:
    services = yaml.safe_load(read("docker", "compose.yaml"))["services"]
    ours = {name: services[name] for name in ("head", "worker")}
    asked = set(re.findall(r"env: (\w+)", read("celery", "dagster.yaml")))
    known = {variable_of("database", key) for key in KEYS["database"]}
    for service in ours.values():
        given = set(service["environment"])
        assert asked <= given
        assert given - asked <= known
        assert service["command"].split()[0] in COMMANDS


def test_pods_get_what_their_launcher_knows() -> None:
    """By hand: it brings the client of Kubernetes, which has more files than all the rest together."""
    launcher = pytest.importorskip("dagster_k8s").K8sRunLauncher
    values = yaml.safe_load(read("kubernetes", "values.yaml"))
    chosen = _as_python(values["runLauncher"]["config"]["k8sRunLauncher"])
    chosen["env_secrets"] = [secret["name"] for secret in chosen["env_secrets"]]
    by_the_chart = ("service_account_name", "instance_config_map", "postgres_password_secret", "dagster_home")
    asked = {**chosen, **dict.fromkeys(by_the_chart, "x")}
    assert process_config(resolve_to_config_type(launcher.config_type()), asked).success


def _as_python(values: dict[str, object]) -> dict[str, object]:
    """Keys as the chart spells them for the launcher."""
    return {
        re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), key): _as_python(value)
        if key == "runK8sConfig" and isinstance(value, dict)
        else value
        for key, value in values.items()
    }
