"""A job that Dagster can make anew, as executing a run again needs."""

import dagster as dg

from carbonation_core.project import Project
from carbonation_dagster import build_defs
from carbonation_dagster.defs.resources import Carbonation

projects: list[Project] = []  # the last one is the test's


class OfTheTest(Carbonation):
    """Dagster makes a job once per process, for all tests."""

    @property
    def project(self) -> Project:
        return projects[-1]


def watch_incoming() -> dg.JobDefinition:
    """The job of watch "incoming" of the test's project."""
    project = projects[-1]
    defs = build_defs(project.config.path, OfTheTest(lambda: project))
    return defs.resolve_job_def("watch_incoming")
