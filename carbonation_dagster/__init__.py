"""Carbonation on Dagster. A Dagster project takes `build_defs` or `CarbonationComponent` from here."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carbonation_dagster.assembly import build_defs
    from carbonation_dagster.component import CarbonationComponent

__all__ = ["CarbonationComponent", "build_defs"]

_PLACES = {"build_defs": "assembly", "CarbonationComponent": "component"}


def __getattr__(name: str) -> Any:
    # The CLI imports this package, too, and must not wait for Dagster's import.
    if name in _PLACES:
        return getattr(import_module(f"carbonation_dagster.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # Dagster's command line finds components by what a module says that it has.
    return sorted({*globals(), *__all__})
