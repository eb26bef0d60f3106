"""Checksums that one file lists for a directory, on a real directory."""

import hashlib
from typing import Any
from unicodedata import normalize

import pytest

from carbonation_core.pipeline import integrity
from tests import databases
from tests.core._helpers.sums import (
    BAD,
    GOOD,
    MANIFEST,
    MINUTE,
    SIDECARS,
    deliver,
    previewed,
    refused,
    sha256,
    sums,
    waits,
)
from tests.site import SINGLE, SiteMaker, touch

pytestmark = databases.one  # bytes and what is said of them


@pytest.mark.parametrize("order", [("SHA256SUMS", "a.bin"), ("a.bin", "SHA256SUMS")])
def test_a_manifest_may_come_first_or_last(make: SiteMaker, order: tuple[str, str]) -> None:
    site = make(MANIFEST)
    files = {"a.bin": GOOD, "SHA256SUMS": sums(**{"a.bin": GOOD, "b.bin": GOOD})}
    for name in order:
        deliver(site, {name: files[name]})
        site.one_pass()
    assert site.archived() == {"a.bin": GOOD}
    assert site.group_keys() == {"a.bin"}
    manifest = site.component("SHA256SUMS")
    assert (manifest.status, manifest.error_message) == ("not_selected", "is a manifest of checksums")


def test_a_file_that_no_manifest_lists_waits_and_fails(make: SiteMaker) -> None:
    site = make(MANIFEST)
    deliver(site, {"a.bin": GOOD})
    site.one_pass()
    wait = "a.bin: waits until 2026-01-01 12:10:03 UTC for its checksum in SHA256SUMS"
    assert waits(site, "a.bin") == wait
    deliver(site, {"SHA256SUMS": sums(**{"b.bin": GOOD})})
    site.one_pass()
    assert waits(site, "a.bin") == wait
    site.tick(10 * MINUTE)
    site.run_all()
    assert refused(site, "a.bin") == "has no checksum in SHA256SUMS"
    touch(site.incoming / "SHA256SUMS", sums(**{"a.bin": GOOD}))
    site.one_pass()
    assert site.archived() == {"a.bin": GOOD}


@pytest.mark.parametrize("corrected", ["a.bin", "SHA256SUMS"])
@pytest.mark.parametrize("after_grace", [False, True])
def test_a_mismatch_with_a_manifest_heals_either_way(
    make: SiteMaker, corrected: str, after_grace: bool
) -> None:
    site = make(MANIFEST)
    deliver(site, {"a.bin": BAD, "SHA256SUMS": sums(**{"a.bin": GOOD})})
    site.one_pass()
    assert f"sha256 is {sha256(BAD)}, SHA256SUMS says {sha256(GOOD)}" in waits(site, "a.bin")
    if after_grace:
        site.tick(11 * MINUTE)
        site.run_all()
        assert refused(site, "a.bin")
    content = GOOD if corrected == "a.bin" else sums(**{"a.bin": BAD})
    touch(site.incoming / corrected, content)
    site.one_pass()
    assert set(site.archived()) == {"a.bin"}
    assert site.archived()["a.bin"] == (GOOD if corrected == "a.bin" else BAD)


def test_a_manifest_is_of_its_own_directory(make: SiteMaker) -> None:
    site = make(MANIFEST, watch={"recursive": "true"}, archive={"destination": '"archive/{group_key}"'})
    deliver(site, {"x/a.bin": GOOD, "y/a.bin": BAD, "y/SHA256SUMS": sums(**{"a.bin": BAD})})
    deliver(site, {"SHA256SUMS": sums(**{"x/a.bin": GOOD})})
    site.one_pass()
    assert site.statuses()["y/a.bin"] == "archived"
    assert waits(site, "x/a.bin")


def test_several_manifests_may_match_and_all_must_agree(make: SiteMaker) -> None:
    site = make(MANIFEST.replace("SHA256SUMS", "*SUMS"))
    md5 = hashlib.md5(GOOD, usedforsecurity=False).hexdigest()
    deliver(site, {"a.bin": GOOD, "SHA256SUMS": sums(**{"a.bin": GOOD}), "MD5SUMS": f"{md5}  a.bin".encode()})
    deliver(site, {"b.bin": BAD, "c.bin": BAD})
    touch(site.incoming / "SHA256SUMS", sums(**{"a.bin": GOOD, "b.bin": BAD, "c.bin": BAD}))
    touch(site.incoming / "MD5SUMS", f"{md5}  a.bin\n{md5}  c.bin\n".encode())
    site.one_pass()
    assert set(site.archived()) == {"a.bin", "b.bin"}
    assert "md5 is" in waits(site, "c.bin")


def test_a_bad_line_of_a_manifest_stops_only_whom_it_should_have_named(make: SiteMaker) -> None:
    site = make(MANIFEST)
    deliver(site, {"a.bin": GOOD, "b.bin": GOOD})
    deliver(site, {"SHA256SUMS": sums(**{"a.bin": GOOD}) + b"oops  b.bin\n"})
    site.one_pass()
    assert set(site.archived()) == {"a.bin"}
    assert "in SHA256SUMS (SHA256SUMS: line 2 is no known checksum)" in waits(site, "b.bin")


def test_a_manifest_may_stand_in_for_a_sidecar(make: SiteMaker) -> None:
    site = make(SIDECARS + '    manifest = "SHA256SUMS"\n')
    deliver(site, {"run1.dat": GOOD, "SHA256SUMS": sums(**{"run1.dat": GOOD}), "run2.dat": GOOD})
    deliver(site, {"run3.dat": GOOD, "run3.dat.sha256": sha256(GOOD).encode()})
    site.one_pass()
    assert set(site.archived()) == {"run1.dat", "run3.dat", "run3.dat.sha256"}
    assert "for its checksum in SHA256SUMS" in waits(site, "run2.dat")


def test_a_manifest_that_changes_while_it_is_read_is_waited_for(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(MANIFEST)
    deliver(site, {"a.bin": GOOD, "SHA256SUMS": sums(**{"a.bin": BAD})})
    site.settle()
    original = integrity.parse

    def corrected_meanwhile(content: bytes, algorithm: str | None) -> Any:
        touch(site.incoming / "SHA256SUMS", sums(**{"a.bin": GOOD}))
        return original(content, algorithm)

    monkeypatch.setattr(integrity, "parse", corrected_meanwhile)
    site.run_all()
    assert site.statuses()["a.bin"] == "waiting"
    monkeypatch.undo()
    site.one_pass()
    assert site.archived() == {"a.bin": GOOD}


def test_a_preview_knows_manifests(make: SiteMaker) -> None:
    site = make(MANIFEST)
    deliver(site, {"a.bin": GOOD, "b.bin": GOOD, "SHA256SUMS": sums(**{"a.bin": GOOD})})
    found = previewed(site)
    assert (found["a.bin"].verdict, found["b.bin"].verdict) == ("archive", "retry_pending")
    assert (found["SHA256SUMS"].verdict, found["SHA256SUMS"].reason) == (
        "not_selected",
        "is a manifest of checksums",
    )


def test_rules_that_ask_for_no_checksum_any_more_archive_what_failed(make: SiteMaker) -> None:
    site = make(MANIFEST)
    deliver(site, {"a.bin": BAD, "SHA256SUMS": sums(**{"a.bin": GOOD})})
    site.one_pass()
    site.tick(11 * MINUTE)
    site.run_all()
    site.set_rules(SINGLE)
    site.tick()
    site.one_pass()
    assert set(site.archived()) == {"a.bin", "SHA256SUMS"}


@databases.each
def test_rules_that_make_a_file_a_manifest_take_it_out_of_its_group(make: SiteMaker) -> None:
    rules = '[pairs.completeness]\ngroup_by = "stem"\nexpected_extensions = [".dat", ".json"]\n'
    site = make(rules)
    deliver(site, {"run1.dat": GOOD, "run1.sums": sums(**{"run1.dat": GOOD, "run1.json": b"{}"})})
    site.one_pass()
    site.set_rules(rules + '[[pairs.integrity]]\ntype = "checksum"\nmanifest = "*.sums"\n')
    site.tick()
    site.tick()
    deliver(site, {"run1.json": b"{}"})
    site.one_pass()
    assert set(site.archived()) == {"run1.dat", "run1.json"}


def test_a_manifest_in_another_unicode_form_is_named_as_the_cause(make: SiteMaker) -> None:
    written, listed = normalize("NFD", "été.bin"), normalize("NFC", "été.bin")
    site = make(MANIFEST)
    deliver(site, {written: GOOD, "SHA256SUMS": sums(**{listed: GOOD})})
    cause = f'(SHA256SUMS lists "{listed}", which differs by Unicode form (NFC and NFD) alone)'
    assert previewed(site)[written].reason.endswith(cause)
    site.one_pass()
    assert waits(site, written).endswith(f"for its checksum in SHA256SUMS {cause}")
    site.tick(10 * MINUTE)
    site.run_all()
    assert refused(site, written) == f"has no checksum in SHA256SUMS {cause}"


def test_a_manifest_in_utf_16_is_read(make: SiteMaker) -> None:
    site = make(MANIFEST)
    deliver(site, {"a.bin": GOOD, "SHA256SUMS": sums(**{"a.bin": GOOD}).decode().encode("utf-16")})
    site.one_pass()
    assert site.archived() == {"a.bin": GOOD}
