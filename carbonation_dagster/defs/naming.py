"""How watches, archives, runs and their tags are called in Dagster. Nothing else makes up names."""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import dagster as dg

from carbonation_core.config.loading import Config, dagster_name
from carbonation_core.pipeline.claim import Offer

LOCATION = "carbonation"

# What a person wants to see of a run in the list, with the host: its group's key, or how many it has.
GROUP_KEY_TAG = "carbonation/group_key"
GROUPS_TAG = "carbonation/groups"
FAILED_TAG = "carbonation/failed"

# What programs find runs by. The UI does not show tags that begin so.
WATCH_TAG = ".dagster/carbonation_watch"
BATCH_TAG = ".dagster/carbonation_batch"
ATTEMPT_TAG = ".dagster/carbonation_attempt"
SERVICE_TAG = ".dagster/carbonation_service"
PASS_TAG = ".dagster/carbonation_pass"  # noqa: S105  # whose process a run is in that nobody launched

# Giving back is the one mechanism that repeats work; Dagster's own retries
# would run beside a batch that was given back.
NO_RETRIES = {"dagster/max_retries": "0"}

INTEGRITY_CHECK = "integrity"
FAILED_GROUPS_CHECK = "failed_groups"
AGREEMENT_CHECK = "agreement"
COMPLETENESS_CHECK = "completeness"
FRESHNESS_CHECK = "freshness"
ARRIVALS_CHECK = "arrivals"

VERIFIED_CHECK = "verified_transfers"
RULES_CHECK = "accepted"

CHANGES_SENSOR = "changes"

RETRY_JOB = "retry"
RECONCILE_DELIVERY_JOB = "reconcile_delivery"
RECONCILE_ARCHIVE_JOB = "reconcile_archive"
PROCESS_NOW_JOB = "process_now"
RECHECK_RULES_JOB = "recheck_rules"
PURGE_HISTORY_JOB = "purge_history"

QUEUE_TAG = "dagster-celery/queue"  # whose workers get a run; the shared queue's without it

LONGEST_TAG = 200  # characters; PostgreSQL indexes tags and refuses about 2,700 bytes


@dataclass(frozen=True)
class Names:
    """How one service's definitions are called.

    `prefix` begins every asset key, and the name of every job, sensor and schedule.
    With `group` all assets are in that one group.
    """

    prefix: tuple[str, ...] = ()
    group: str | None = None

    @classmethod
    def of(cls, key_prefix: str | Sequence[str] | None = None, group_name: str | None = None) -> "Names":
        """Names with a prefix as Dagster's own functions take it; raises `ValueError`."""
        prefix = (key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix or ())
        for part in prefix:
            if not re.fullmatch(r"[A-Za-z0-9_]+", part):
                raise ValueError(f'key_prefix "{part}": should be of letters, digits and "_" only')
        return cls(prefix, group_name)

    def delivery_key(self, watch: str) -> dg.AssetKey:
        """The asset that stands for what lies in a watch's directory."""
        return dg.AssetKey([*self.prefix, dagster_name(watch), "delivery"])

    def catalog_key(self, watch: str) -> dg.AssetKey:
        """The asset that stands for a watch's complete groups."""
        return dg.AssetKey([*self.prefix, dagster_name(watch), "catalog"])

    def archive_key(self, archive: str) -> dg.AssetKey:
        """The asset that stands for the files of an archive."""
        return dg.AssetKey([*self.prefix, "archive", dagster_name(archive)])

    def report_key(self, watch: str) -> dg.AssetKey:
        """The asset that stands for the daily report of a watch."""
        return dg.AssetKey([*self.prefix, "report", dagster_name(watch)])

    @property
    def rules_key(self) -> dg.AssetKey:
        """The asset that stands for rules.toml."""
        return dg.AssetKey([*self.prefix, "rules"])

    def group_of(self, usual: str) -> str:
        """The asset group that is `usual` unless all assets share one."""
        return self.group or usual

    def named(self, name: str) -> str:
        """The name of a job, sensor or schedule."""
        return "_".join((*self.prefix, name))

    def watch_job(self, watch: str) -> str:
        """The job, and the sensor, of a watch."""
        return self.named(f"watch_{dagster_name(watch)}")


def service_of(config: Config) -> str:
    """What tells a service's runs from those of others in one Dagster: its directory, and a digest of it."""
    directory = re.sub(r"[^A-Za-z0-9_.-]", "_", config.directory.name)[:40]
    digest = hashlib.sha256(plain(str(config.path)).encode()).hexdigest()[:8]
    return f"{directory}-{digest}"


def batch_tag_of(watch: str) -> str:
    """The tag under which a run that claimed for itself keeps its batches, per watch.

    A run that "Materialize all" starts serves many watches.
    """
    return f"{BATCH_TAG}.{dagster_name(watch)}"


def run_tags(offer: Offer) -> dict[str, str]:
    """What the run of an offer is found by."""
    tags = {
        **NO_RETRIES,
        WATCH_TAG: offer.watch_name,
        BATCH_TAG: offer.batch_id,
        ATTEMPT_TAG: str(offer.attempt),
    }
    if offer.group_key is None:
        return {**tags, GROUPS_TAG: str(offer.size)}
    return {**tags, GROUP_KEY_TAG: tag_value(offer.group_key)}


def queue_of(hosts: Iterable[str]) -> str:
    """The queue of runs that some hosts may have; of one host, its name."""
    return tag_value("+".join(sorted(hosts)))


def queue_tags(hosts: Collection[str]) -> dict[str, str]:
    """What leads a run to one of these hosts; nothing where any may have it."""
    return {QUEUE_TAG: queue_of(hosts)} if hosts else {}


def tag_value(text: str) -> str:
    """A text as a tag can hold it; a long one is cut and ends in its digest."""
    text = plain(text)
    if len(text) <= LONGEST_TAG:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{text[: LONGEST_TAG - 13]}…{digest}"


def plain(text: str) -> str:
    """A text as every storage of Dagster takes it: no lone surrogates, no NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
