"""The groups and the components as people and programs ask for them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import Connection, Enum, Table, select, type_coerce

from carbonation_core.db.filters import Filter, filters_of
from carbonation_core.db.models import BASE_COLUMNS, FileBase, FileComponent, Group
from carbonation_core.db.queries import Query, query
from carbonation_core.lifecycle import FileStatus

# What of the core's columns a row has when nobody names columns; the rest is
# how the service does its work.
PUBLIC = (
    "id",
    "watch_name",
    "file_type",
    "group_key",
    "complete",
    "archive_name",
    "archive_path",
    "created_at",
    "completed_at",
    "modified_at",
    "retention_date",
    "lacks",
    "metadata",
)
SHORT = MappingProxyType(
    {
        "file_type": "type",
        "created_at": "created",
        "completed_at": "completed",
        "modified_at": "modified",
    }
)

# A component as people ask for it, with the names that they use.
_COMPONENTS = (
    select(
        FileComponent.id,
        FileComponent.watch_name,
        Group.group_key,
        FileComponent.source_path.label("path"),
        FileComponent.filename,
        type_coerce(FileComponent.status, Enum(*FileStatus, native_enum=False)).label("status"),
        FileComponent.status_since.label("since"),
        FileComponent.error_message.label("reason"),
        FileComponent.retry_count.label("attempts"),
        FileComponent.retry_at.label("next_attempt"),
        FileComponent.size_bytes,
        FileComponent.in_delivery,
        FileComponent.in_archive,
        FileComponent.archive_name,
        FileComponent.archive_path,
        FileComponent.digest,
        FileComponent.detected_at,
        FileComponent.archived_at,
        FileComponent.cleared_at,
        Group.group_key_sha256,
        FileComponent.source_path_sha256.label("path_sha256"),
    )
    .join_from(FileComponent, Group, isouter=True)
    .subquery("components")
)
COMPONENT_COLUMNS = tuple(name for column in _COMPONENTS.c if not (name := column.name).endswith("_sha256"))
COMPONENT_FILTERS = filters_of((_COMPONENTS.c[name] for name in COMPONENT_COLUMNS), {})


def known_filters(model: type[FileBase]) -> dict[str, Filter]:
    """The filters on the core's and the plugin's columns, by each of their names."""
    columns = [column for column in table_of(model).columns if column.name != "group_key_sha256"]
    base = [column for column in columns if column.name in BASE_COLUMNS]
    own = [column for column in columns if column.name not in BASE_COLUMNS]
    return filters_of([*base, *own], SHORT)


def default_columns(model: type[FileBase]) -> tuple[str, ...]:
    """The columns of a row when nobody names any: the public ones and the plugin's."""
    own = [column.name for column in table_of(model).columns if column.name not in BASE_COLUMNS]
    return (*PUBLIC, *own)


def file_query(
    model: type[FileBase],
    filters: Mapping[str, object] | None = None,
    columns: Sequence[str] | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
) -> Query:
    """A question about groups, checked; see `queries.query`."""
    chosen = default_columns(model) if columns is None else columns
    return query(table_of(model), known_filters(model), filters, chosen, order_by, limit)


def component_query(
    filters: Mapping[str, object] | None = None,
    columns: Sequence[str] = COMPONENT_COLUMNS,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
) -> Query:
    """A question about components, checked; see `queries.query`."""
    return query(_COMPONENTS, COMPONENT_FILTERS, filters, columns, order_by, limit)


def has_groups(connection: Connection, watch_name: str) -> bool:
    """Whether the watch, configured or not, ever had a group."""
    query = select(Group.id).where(Group.watch_name == watch_name).limit(1)
    return connection.execute(query).first() is not None


def table_of(model: type[FileBase]) -> Table:
    """The table of a model."""
    table = model.__table__
    assert isinstance(table, Table)
    return table
