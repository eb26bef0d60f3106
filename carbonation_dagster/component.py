"""Carbonation as a component, for projects that are made of `defs.yaml` files."""

from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

from carbonation_dagster.assembly import build_defs


class Scaffolded(BaseModel):
    """What `dg scaffold defs` asks for."""

    config: str = Field(
        description="path of config.toml; a relative one starts from the defs.yaml's directory"
    )


class CarbonationScaffolder(dg.Scaffolder[Scaffolded]):
    """Writes a defs.yaml with all that it has to have."""

    @classmethod
    def get_scaffold_params(cls) -> type[Scaffolded]:
        """What is asked for."""
        return Scaffolded

    def scaffold(self, request: dg.ScaffoldRequest[Scaffolded]) -> None:
        """Write it."""
        attributes: dict[str, Any] = {"config": request.params.config}
        dg.scaffold_component(request, attributes)


@dg.scaffold_with(CarbonationScaffolder)
class CarbonationComponent(dg.Component, dg.Model, dg.Resolvable):
    """Watched directories, their catalogs and archives, as a config.toml describes them."""

    config: str = Field(
        description="path of config.toml; a relative one starts from the defs.yaml's directory"
    )
    key_prefix: list[str] | None = Field(
        None, description="what begins every asset key, and the name of every job, sensor and schedule"
    )
    group_name: str | None = Field(None, description="one asset group for all; else one a watch")

    start: bool = Field(True, description="whether sensors and schedules are on from the beginning")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of that config.toml."""
        return build_defs(
            context.path / self.config,
            key_prefix=self.key_prefix,
            group_name=self.group_name,
            start=self.start,
        )
