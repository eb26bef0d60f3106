"""Carbonation as a component, for projects that are made of `defs.yaml` files."""

import dagster as dg
from pydantic import Field

from carbonation_dagster.assembly import build_defs


class CarbonationComponent(dg.Component, dg.Model, dg.Resolvable):
    """Watched directories, their catalogs and archives, as a config.toml describes them."""

    config: str = Field(
        description="path of config.toml; a relative one starts from the defs.yaml's directory"
    )
    key_prefix: list[str] | None = Field(
        None, description="what begins every asset key, and the name of every job, sensor and schedule"
    )
    group_name: str | None = Field(None, description="one asset group for all; else one a watch")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of that config.toml."""
        return build_defs(context.path / self.config, key_prefix=self.key_prefix, group_name=self.group_name)
