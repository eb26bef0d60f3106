"""Watch, group, check, describe, route and archive delivered files. Works without Dagster."""

from carbonation_core.db.models import FileBase
from carbonation_core.errors import ConfigError
from carbonation_core.plugin import Plugin, QueryDefaults

__all__ = ["ConfigError", "FileBase", "Plugin", "QueryDefaults"]
