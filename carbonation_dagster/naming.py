"""How watches, archives, runs and their tags are called in Dagster. Nothing else makes up names."""

import hashlib

import dagster as dg

from carbonation_core.claim import Offer
from carbonation_core.config import dagster_name

LOCATION = "carbonation"

WATCH_TAG = "carbonation/watch"
BATCH_TAG = "carbonation/batch"
GROUPS_TAG = "carbonation/groups"
GROUP_KEY_TAG = "carbonation/group_key"
ATTEMPT_TAG = "carbonation/attempt"

# Giving back is the one mechanism that repeats work; Dagster's own retries
# would run beside a batch that was given back.
NO_RETRIES = {"dagster/max_retries": "0"}

INTEGRITY_CHECK = "integrity"
FAILED_GROUPS_CHECK = "failed_groups"
AGREEMENT_CHECK = "agreement"
COMPLETENESS_CHECK = "completeness"
FRESHNESS_CHECK = "freshness"

CHECK_SENSOR = "late_and_overdue"

RETRY_JOB = "retry"
RECONCILE_DELIVERY_JOB = "reconcile_delivery"
RECONCILE_ARCHIVE_JOB = "reconcile_archive"
PROCESS_NOW_JOB = "process_now"

LONGEST_TAG = 200  # characters; PostgreSQL indexes tags and refuses about 2,700 bytes


def delivery_key(watch: str) -> dg.AssetKey:
    """The asset that stands for what lies in a watch's directory."""
    return dg.AssetKey(["delivery", dagster_name(watch)])


def catalog_key(watch: str) -> dg.AssetKey:
    """The asset that stands for a watch's complete groups."""
    return dg.AssetKey(["catalog", dagster_name(watch)])


def archive_key(archive: str) -> dg.AssetKey:
    """The asset that stands for the files of an archive."""
    return dg.AssetKey(["archive", dagster_name(archive)])


def watch_job(watch: str) -> str:
    """The job, and the sensor, of a watch."""
    return f"watch_{dagster_name(watch)}"


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
        GROUPS_TAG: str(offer.size),
        ATTEMPT_TAG: str(offer.attempt),
    }
    if offer.group_key is not None:
        tags[GROUP_KEY_TAG] = tag_value(offer.group_key)
    return tags


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
