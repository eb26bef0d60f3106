"""Assets: what lies in delivery, the catalog of each watch, what lies in the archives."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from carbonation_core.config.loading import Config, dagster_name
from carbonation_core.config.sections import Archive, Watch
from carbonation_core.rules.decide import reachable_archives
from carbonation_core.rules.rule_sets import Rules
from carbonation_core.text import format_duration
from carbonation_dagster.defs.naming import Names, plain
from carbonation_dagster.defs.ops import archive_op, early_ops

ARCHIVES_GROUP = "archives"
RULES_GROUP = "rules"


def delivery_spec(watch: Watch, names: Names) -> dg.AssetSpec:
    """What lies in a watch's directory; made by others, and told by the runs that take from it."""
    return dg.AssetSpec(
        names.delivery_key(watch.name),
        description=(
            f"Files that others deliver to `{plain(str(watch.path))}`. Each run says how many groups it "
            "took from here; `carbonation status` says what lies here now."
        ),
        group_name=names.group_of(watch_group(watch)),
        kinds={"file"},
        owners=[*watch.owners],
        tags=watch.tags,
        metadata={
            **_place(watch.path, watch.url),
            "recursive": watch.recursive,
            "patterns": ", ".join(watch.patterns) or "all",
            "ignored": ", ".join(watch.ignore_patterns) or "none",
            "settles after (s)": watch.settle_seconds,
            "expected every": format_duration(watch.expect_every) if watch.expect_every else "not expected",
        },
    )


def catalog_asset(watch: Watch, names: Names) -> dg.AssetsDefinition:
    """The complete groups of a watch, made by six ops."""

    @dg.graph_asset(
        key=names.catalog_key(watch.name),
        ins={"delivered": dg.AssetIn(names.delivery_key(watch.name), dagster_type=dg.Nothing)},
        config={op.name: {"config": {"watch": watch.name}} for op in (*early_ops, archive_op)},
        description=(
            f"Groups of `{watch.name}` that are complete, checked, described and archived by the rule set "
            f"`{watch.rules}`. Materialise it to process now what lies in delivery; runs start by "
            "themselves when the sensor is on. A failed run names its groups: re-execute it from failure to "
            "take exactly these again, at once."
        ),
        group_name=names.group_of(watch_group(watch)),
        kinds={"python"},
        owners=[*watch.owners],
        tags=watch.tags,
        metadata={"rule set": watch.rules, "redelivery": watch.redelivery},
    )
    def catalog(delivered: Any) -> Any:
        done = delivered
        for op in early_ops:
            done = op(done)
        return archive_op(done)

    return catalog


def archive_spec(archive: Archive, names: Names, feeding: Collection[str]) -> dg.AssetSpec:
    """The files in an archive, shared by the watches that feed it."""
    return dg.AssetSpec(
        names.archive_key(archive.name),
        deps=[names.catalog_key(watch) for watch in feeding],
        description=(
            f"Files that were archived ({archive.action}) below `{plain(str(archive.base))}`. Each run that "
            "archived something here says what, how much and where."
        ),
        group_name=names.group_of(ARCHIVES_GROUP),
        kinds={"file"},
        owners=[*archive.owners],
        tags=archive.tags,
        metadata={
            **_place(archive.base, archive.url),
            "destination": plain(archive.destination),
            "action": archive.action,
            "file mode": f"{archive.file_mode:o}",
        },
    )


def rules_spec(config: Config, names: Names) -> dg.AssetSpec:
    """rules.toml; an accepted version is a materialisation of it, a refused one an observation."""
    file = plain(str(config.rules.file))
    return dg.AssetSpec(
        names.rules_key,
        description=(
            f"The rule sets of `{file}`. Each change shows here, as a materialisation if it was accepted, "
            "else as an observation that says why not: the digests before and after, whose file it is and "
            "when it was written. A file that is refused fails the check, and the rules that were last "
            "accepted go on."
        ),
        group_name=names.group_of(RULES_GROUP),
        kinds={"file"},
        metadata={"file": dg.MetadataValue.path(file)},
    )


def watch_group(watch: Watch) -> str:
    """The asset group of a watch."""
    return f"watch_{dagster_name(watch.name)}"


def _place(directory: Path, url: str | None) -> Mapping[str, dg.MetadataValue]:
    here = {"directory": dg.MetadataValue.path(plain(str(directory)))}
    return here if url is None else {**here, "browse": dg.MetadataValue.url(url)}


def feeding_watches(config: Config, rules: Rules | None) -> Mapping[str, Sequence[str]]:
    """The watches that may feed each archive. Without usable rules: any of them."""
    reach = {watch.name: reachable_archives(watch, rules, config) for watch in config.watch}
    return {
        archive.name: [watch for watch, archives in reach.items() if archive.name in archives]
        for archive in config.archive
    }
