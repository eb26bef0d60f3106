"""Archives that are compared with the database, for the tests of reconciliation and adoption."""

from collections.abc import Callable
from pathlib import Path

import pytest

from carbonation_core.names import to_text
from carbonation_core.reconcile import archive as module
from carbonation_core.reconcile.archive import ArchiveReconciliation, reconcile_archive
from carbonation_core.reconcile.findings import Kind
from tests.site import Site

QUICK = {"settle_seconds": "0.01"}


def reconcile(site: Site, archive: str = "main", **options: object) -> ArchiveReconciliation:
    return reconcile_archive(site.project, archive, **options)  # type: ignore[arg-type]


def found(result: ArchiveReconciliation, base: Path) -> dict[str, Kind]:
    """What was found, by path below the archive."""
    root = to_text(str(base)) + "/"
    return {one.path.removeprefix(root): one.kind for one in result.findings}


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen after an archive was looked through and before anything is recorded."""
    real = module._Reconciling.applied

    def applied(self: object, *arguments: object) -> object:
        act()
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module._Reconciling, "applied", applied)
