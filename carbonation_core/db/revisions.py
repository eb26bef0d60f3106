"""New revisions of the plugin's branch, written into its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine

from carbonation_core.db.column_types import UtcDateTime
from carbonation_core.db.engine import reading
from carbonation_core.db.migrate import alembic_config, reading_revisions, require_current
from carbonation_core.db.models import BASE_COLUMNS, FileBase
from carbonation_core.errors import ConfigError, DatabaseError


def new_revision(
    engine: Engine,
    migrations: Path,
    model: type[FileBase],
    message: str,
    autogenerate: bool,
) -> Path | None:
    """Write the next revision of the plugin into `migrations`; the first begins its branch.

    The branch is called as the plugin's package. With `autogenerate` the revision
    holds what the model has and table `files` has not, or the reverse, and is not
    written (None) when they agree. Raises `DatabaseError` when the database is not
    current, `ConfigError` when the file cannot be written.
    """
    migrations.mkdir(parents=True, exist_ok=True)
    config = alembic_config(migrations)
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    with reading_revisions(migrations):
        script = ScriptDirectory.from_config(config)
        own = [one for one in script.walk_revisions() if Path(one.path).parent == migrations]
    head = _head_of(own, migrations)
    branch = _branch_of(own) or model.__module__.partition(".")[0]
    if autogenerate:
        require_current(engine, migrations)
    written: list[bool] = []

    def unless_empty(_context: MigrationContext, _heads: object, directives: list[Any]) -> None:
        if autogenerate and directives[0].upgrade_ops.is_empty():
            directives[:] = []
        written[:] = [bool(directives)]

    with reading(engine) as connection:
        config.attributes.update(
            connection=connection,
            target_metadata=model.metadata,
            include_name=_is_of_model(model),
            include_object=_is_of_plugin,
            render_item=_rendered,
            process_revision_directives=unless_empty,
        )
        try:
            made = command.revision(
                config,
                message,
                autogenerate=autogenerate,
                head=head or "base",
                branch_label=None if own else branch,
                version_path=str(migrations),
                rev_id=f"{branch}_{len(own) + 1:04}",
                depends_on=None if own else "core",
            )
        except CommandError as error:
            raise DatabaseError(f"no revision can be written: {error}") from error
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if autogenerate and not written[0]:
        return None
    revision = made[0] if isinstance(made, list) else made
    assert revision is not None
    return Path(revision.path)


def _branch_of(own: Sequence[Script]) -> str | None:
    """The name of the plugin's branch; None before the first revision."""
    return min((label for one in own for label in one.branch_labels), default=None)


def _head_of(own: Sequence[Script], migrations: Path) -> str | None:
    """The plugin's newest revision; None before the first."""
    heads = sorted(one.revision for one in own if one.is_head)
    if len(heads) > 1:
        raise ConfigError(f"{migrations}: has more than one newest revision: {', '.join(heads)}")
    return heads[0] if heads else None


def _is_of_model(model: type[FileBase]) -> Any:
    def named(name: str | None, kind: str, _parents: Mapping[str, Any]) -> bool:
        return kind != "table" or name in model.metadata.tables

    return named


def _is_of_plugin(thing: Any, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
    if kind == "column":
        return thing.table.name != "files" or name not in BASE_COLUMNS
    if kind == "table" or thing.table.name != "files":
        return True
    return not {column.name for column in thing.columns} <= BASE_COLUMNS


def _rendered(kind: str, item: object, context: AutogenContext) -> str | bool:
    if kind == "type" and isinstance(item, UtcDateTime):
        context.imports.add("from sqlalchemy.dialects import mysql")
        return 'sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")'
    return False
