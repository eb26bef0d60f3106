"""Deliveries with their checksums, for the tests of sidecars and of manifests."""

import hashlib

from carbonation_core.reports.preview import Preview, preview
from tests.site import SINGLE, Site

SIDECARS = """
    [pairs.completeness]
    group_by = "stem"
    expected_extensions = [".dat"]
    optional_extensions = [".json", ".txt"]
    [[pairs.integrity]]
    type = "checksum"
    sidecar = ".sha256"
"""
READ_ONLY = SIDECARS + "    archive_sidecar = false\n"
ONES = SINGLE + '[[single.integrity]]\ntype = "checksum"\nsidecar = ".sha256"\n'
MANIFEST = SINGLE + '[[single.integrity]]\ntype = "checksum"\nmanifest = "SHA256SUMS"\n'
GOOD, BAD = b"the right bytes", b"other bytes"
MINUTE = 60


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sums(**files: bytes) -> bytes:
    return "".join(f"{sha256(content)}  {name}\n" for name, content in files.items()).encode()


def deliver(site: Site, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        site.deliver(name, content=content)


def run1(content: bytes = GOOD, said: bytes = GOOD, name: str = "run1.dat.sha256") -> dict[str, bytes]:
    """A file and its sidecar, which says the digest of `said`."""
    return {"run1.dat": content, name: f"{sha256(said)}  run1.dat\n".encode()}


def refused(site: Site, name: str) -> str:
    """Why a file failed a check."""
    component = site.component(name)
    assert component.status == "integrity_failed", (component.status, component.error_message)
    return str(component.error_message)


def waits(site: Site, name: str) -> str:
    """What a file waits for, without a counted attempt."""
    component = site.component(name)
    assert (component.status, component.retry_count) == ("retry_pending", 0), component.error_message
    return str(component.error_message)


def previewed(site: Site) -> dict[str, Preview]:
    return {found.group_key: found for found in preview(site.project)}
