"""What a watch did, told without a run: a picture each day, and who waits for what."""

import dagster as dg

from carbonation_core.config.sections import Watch
from carbonation_core.project import Project
from carbonation_core.reports.activity import activity, standing
from carbonation_core.reports.drawing import in_words, picture
from carbonation_core.reports.waiting import Overlong
from carbonation_core.text import shown
from carbonation_dagster.defs.assets import watch_group
from carbonation_dagster.defs.messages import MetadataMapping, image, standing_metadata
from carbonation_dagster.defs.naming import Names
from carbonation_dagster.defs.resources import Carbonation
from carbonation_dagster.defs.watch_checks import waiting_table


def report_asset(watch: Watch, names: Names) -> dg.AssetsDefinition:
    """The report of a watch; made by the sensor each day, and by the button."""

    @dg.asset(
        key=names.report_key(watch.name),
        group_name=names.group_of(watch_group(watch)),
        kinds={"svg"},
        owners=[*watch.owners],
        tags=watch.tags,
        description=(
            f"What came into `{watch.name}` in 24 hours and what became of it, as a picture: deliveries by "
            "hour, seconds to the archive, why files failed, whether what was expected came. A new one comes "
            "each day, at midnight UTC; materialise it to see how it is now. `carbonation report --html "
            "FILE` writes the same as a page."
        ),
    )
    def report(carbonation: dg.ResourceParam[Carbonation]) -> dg.MaterializeResult[None]:
        _, metadata = told(carbonation.project, watch.name)
        return dg.MaterializeResult(metadata=metadata)

    return report


def report_materialisation(project: Project, names: Names, watch_name: str) -> dg.AssetMaterialization:
    """The report of the last 24 hours, as a sensor tells it."""
    said, metadata = told(project, watch_name)
    return dg.AssetMaterialization(names.report_key(watch_name), description=said, metadata=metadata)


def told(project: Project, watch_name: str) -> tuple[str, MetadataMapping]:
    """The report in a sentence, and as numbers and a picture."""
    found = activity(project, watch_name)
    seconds = {"p50": found.p50, "p95": found.p95}
    return in_words(found), {
        "picture": image("report", picture(found)),
        "since": dg.MetadataValue.text(shown(found.since)),
        "files": dg.MetadataValue.int(found.files),
        "bytes": dg.MetadataValue.int(found.bytes),
        "archived": dg.MetadataValue.int(found.archived),
        **{
            f"seconds to archive {name}": dg.MetadataValue.float(round(value, 3))
            for name, value in seconds.items()
            if value is not None
        },
        **standing_metadata(found.waiting, found.failed),
    }


def waiting_observation(
    project: Project, names: Names, watch_name: str, found: Overlong
) -> dg.AssetObservation:
    """Who waits in delivery, for what and since when."""
    return dg.AssetObservation(
        names.delivery_key(watch_name),
        metadata={
            **standing_metadata(*standing(project, watch_name)),
            "groups that wait": dg.MetadataValue.int(found.number),
            **({"table": waiting_table(found.waiters)} if found.waiters else {}),
        },
    )
