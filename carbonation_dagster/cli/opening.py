"""How commands begin: with their log, then with the project."""

import logging

from carbonation_core.config.loading import load_config
from carbonation_core.logs import records
from carbonation_core.project import Project
from carbonation_core.project import open_project as open_checked_project
from carbonation_core.project import open_unchecked as open_unchecked_project


def begin_log(path: str | None, *, as_service: bool = False, level: int | None = None) -> None:
    """Log to standard error, in the form that is configured.

    From the configured level on where the log is all that is told, `as_service`;
    a command that prints what it did logs warnings only, unless more is asked for.
    `level` is one that was asked for on the command line.
    """
    config = load_config(path)
    configured = records.level_number(config.logging.level)
    level = configured if level is None else level
    if not as_service and level >= logging.INFO:
        level = max(level, logging.WARNING)
    handler = records.ToStandardError()
    handler.setFormatter(records.form(config.logging.format, config.secrets))
    records.begin(level, handler)


def open_project(path: str | None, *, as_service: bool = False, level: int | None = None) -> Project:
    """The project with its schema current, after the log has begun; raises as the core does."""
    begin_log(path, as_service=as_service, level=level)
    return open_checked_project(path)


def open_unchecked(path: str | None) -> Project:
    """The project, whatever the state of its database, after the log has begun."""
    begin_log(path)
    return open_unchecked_project(path)
