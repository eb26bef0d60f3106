"""The project's own assets."""

from their_project.report import report

__all__ = ["report"]
