"""Carbonation on Dagster. `build_defs` is what a Dagster project takes from here."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carbonation_dagster.assembly import build_defs

__all__ = ["build_defs"]


def __getattr__(name: str) -> Any:
    # The CLI imports this package, too, and must not wait for Dagster's import.
    if name == "build_defs":
        from carbonation_dagster.assembly import build_defs

        return build_defs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
