"""A new project: configuration, rules and a plugin of its own, which runs as it stands."""

import importlib.util
import keyword
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from carbonation_core.errors import ConfigError
from carbonation_core.process import user_name

if TYPE_CHECKING:
    from carbonation_dagster.cli.unit import Role

# `my_plugin` in it is a link to plugins/example, so that the two cannot differ.
PROJECT = Path(__file__).parent / "project"
CELERY = Path(__file__).parent / "celery"  # a link to deploy/celery
EXAMPLE, NEW = "example", "my_plugin"
DELIVERY = "incoming"
LONGEST_NAME = 27  # characters; a revision has at most 32, and is called my_plugin_0001


def scaffold(
    directory: Path, project: Path = PROJECT, plugin: str = NEW
) -> Iterator[tuple[Literal["CREATED", "SKIPPED"], Path]]:
    """Write what is missing of a project into `directory`, and make its delivery directory.

    `project` is what is copied: its Python and TOML files, with `plugin` for the
    name of the package. Yields each file as it was dealt with; one that is there
    already is skipped, whatever is in it. Raises `ConfigError` when a file cannot
    be written.
    """
    for source in _files(project):
        relative = source.relative_to(project)
        text = source.read_text(encoding="utf-8")
        if relative.parts[0] == NEW:
            relative = Path(str(relative).replace(NEW, plugin, 1).replace(EXAMPLE, plugin))
            text = text.replace(EXAMPLE, plugin)
        else:
            text = text.replace(NEW, plugin)
        target = directory / relative
        yield ("CREATED" if _written(target, text) else "SKIPPED"), target
    _made(directory / DELIVERY)


def require_name(plugin: str, directory: Path) -> None:
    """Raise `ConfigError` for a name that a plugin in this directory cannot have."""
    if (
        not re.fullmatch(r"[a-z][a-z0-9_]*", plugin)
        or keyword.iskeyword(plugin)
        or len(plugin) > LONGEST_NAME
    ):
        raise ConfigError(
            f'"{plugin}" cannot be the name of a plugin: it is a Python package, so it has small letters, '
            f"digits and _, begins with a letter, and has at most {LONGEST_NAME} characters"
        )
    found = importlib.util.find_spec(plugin)
    places = [] if found is None else [found.origin or "", *(found.submodule_search_locations or ())]
    if found is not None and not any(str(directory.resolve()) in place for place in places):
        raise ConfigError(f'there is a package "{plugin}" already, which Python would take: {places[0]}')


def write_unit(
    directory: Path, user: str | None, role: "Role | None" = None
) -> Iterator[tuple[Literal["CREATED", "SKIPPED"], Path]]:
    """Write the unit for the project in `directory`, whose configuration must be valid.

    For one of several hosts also DAGSTER_HOME, with its environment, which is for nobody else to read.
    """
    from carbonation_core.config.loading import load_config
    from carbonation_dagster.cli.unit import ENVIRONMENT_FILE, HOME, name_of, unit

    target = directory / f"{name_of(role)}.service"
    text = unit(load_config(directory.resolve() / "config.toml"), user or user_name(), role)
    yield ("CREATED" if _written(target, text) else "SKIPPED"), target
    if role is None:
        return
    for source, name in (
        (CELERY / "dagster.yaml", "dagster.yaml"),
        (CELERY / "environment", ENVIRONMENT_FILE),
    ):
        target = directory / HOME / name
        is_new = _written(target, source.read_text(encoding="utf-8"))
        if is_new and name == ENVIRONMENT_FILE:
            target.chmod(0o600)
        yield ("CREATED" if is_new else "SKIPPED"), target


def _files(project: Path) -> list[Path]:
    return sorted(
        Path(parent, name)
        for parent, _, names in os.walk(project, followlinks=True)
        for name in names
        if name.endswith((".py", ".toml"))
    )


def _written(target: Path, text: str) -> bool:
    _made(target.parent)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written: {error.strerror}") from error
    return True


def _made(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be made: {error.strerror}") from error
