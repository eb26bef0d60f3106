"""How revisions change tables where Alembic's way would fail, or lose something, once there are rows."""

import logging
from copy import copy
from typing import Any

from alembic.ddl.impl import DefaultImpl
from alembic.ddl.mysql import MariaDBImpl, MySQLImpl
from alembic.ddl.sqlite import SQLiteImpl
from alembic.operations.batch import ApplyBatchImpl, BatchOperationsImpl
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, CursorResult, Table, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import ExecutableDDLElement

log = logging.getLogger(__name__)

# MariaDB's numbers: there is already such a table, column, index; there is no such
# table, and no such column or index, to drop.
_DONE = frozenset({1050, 1060, 1061, 1051, 1091})
_NO_COLUMN = 1054
_KEPT = text(
    "SELECT name, sql FROM sqlite_master "
    "WHERE tbl_name = :table AND type IN ('index', 'trigger') AND sql IS NOT NULL"
)


def use_own(migration: MigrationContext) -> None:
    """Have these revisions change tables in our way; all others in this process keep Alembic's."""
    ours: dict[str, type[DefaultImpl]] = {"sqlite": AlterSqlite, "mariadb": GoOnMariaDB, "mysql": GoOnMySQL}
    given = migration.impl
    kind = ours.get(given.dialect.name)
    if kind is not None:
        migration.impl = kind(
            given.dialect, given.connection, given.as_sql, None, given.output_buffer, given.context_opts
        )


class _GoOn(DefaultImpl):
    """Goes on with an upgrade that was interrupted, where each change of a table is committed by itself."""

    def _exec(self, construct: Any, *arguments: Any, **options: Any) -> "CursorResult[Any] | None":
        try:
            return super()._exec(construct, *arguments, **options)
        except DBAPIError as error:
            code, said = (*getattr(error.orig, "args", ()), None, None)[:2]
            is_change = isinstance(construct, ExecutableDDLElement)
            if not is_change or not (code in _DONE or (code == _NO_COLUMN and self._is_renamed(construct))):
                raise
            log.warning("passed over, as it was done before: %s", said)
            return None

    def _is_renamed(self, construct: Any) -> bool:
        columns = inspect(self.connection).get_columns(construct.table_name)
        return getattr(construct, "newname", None) in {column["name"] for column in columns}


class GoOnMariaDB(_GoOn, MariaDBImpl):
    """MariaDB's."""


class GoOnMySQL(_GoOn, MySQLImpl):
    """MySQL's."""


class AlterSqlite(SQLiteImpl):
    """SQLite's own ALTER where it is enough, else a copy of the table that keeps what hangs on it.

    Alembic knows of no ALTER of SQLite's but for a new column, and copies the
    table at all other changes. See https://sqlite.org/lang_altertable.html.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._kept: dict[str, list[str]] = {}  # by the copy's name, what SQLite drops with the original

    def requires_recreate_in_batch(self, batch_op: BatchOperationsImpl) -> bool:
        """Whether there is anything to do that SQLite cannot do without a copy."""
        left = copy(batch_op)
        left.batch = [
            (name, arguments, options)
            for name, arguments, options in batch_op.batch
            if not (name == "alter_column" and _only_renames(options))
            and not (name == "drop_column" and self._is_free(*arguments))
        ]
        return super().requires_recreate_in_batch(left)

    def _is_free(self, table_name: str, column: Column[Any]) -> bool:
        """Whether no key and no constraint has that column."""
        inspector = inspect(self.connection)
        keys = [
            inspector.get_pk_constraint(table_name)["constrained_columns"],
            *(unique["column_names"] for unique in inspector.get_unique_constraints(table_name)),
            *(key["constrained_columns"] for key in inspector.get_foreign_keys(table_name)),
        ]
        return not any(column.name in key for key in keys)

    def drop_column(self, table_name: str, column: Column[Any], **options: Any) -> None:
        """Drop the column and its indexes, as PostgreSQL does."""
        for index in inspect(self.connection).get_indexes(table_name):
            if column.name in index["column_names"]:
                self.execute(f"DROP INDEX {self.dialect.identifier_preparer.quote(str(index['name']))}")
        super().drop_column(table_name, column, **options)

    def prep_table_for_batch(self, batch_impl: ApplyBatchImpl, table: Table) -> None:
        """Remember what goes with the table when it is dropped, and what Alembic does not make again."""
        made_again = {index.name for index in table.indexes}
        assert self.connection is not None
        rows = self.connection.execute(_KEPT, {"table": table.name})
        self._kept[batch_impl.temp_table_name] = [sql for name, sql in rows if name not in made_again]

    def rename_table(self, old_table_name: str, new_table_name: str, schema: Any = None) -> None:
        """Rename the table; a copy takes the original's place."""
        kept = self._kept.pop(str(old_table_name), None)
        if kept is None:
            super().rename_table(old_table_name, new_table_name, schema)
            return
        assert self.connection is not None
        # Else it would look for the original in views, and it is not there.
        self.execute("PRAGMA legacy_alter_table = ON")
        super().rename_table(old_table_name, new_table_name, schema)
        self.execute("PRAGMA legacy_alter_table = OFF")
        for statement in kept:
            self.connection.exec_driver_sql(statement)

    def cast_for_batch_migrate(self, existing: Any, existing_transfer: Any, new_type: Any) -> None:
        """Copy values as they are: the new column converts what it can without a loss, and a cast the rest.

        `CAST('2026-01-01' AS DATETIME)` is 2026.
        """


def _only_renames(options: dict[str, Any]) -> bool:
    unchanged = {
        "nullable": None,
        "server_default": False,
        "type_": None,
        "comment": False,
        "autoincrement": None,
    }
    return all(options.get(key, default) is default for key, default in unchanged.items())
