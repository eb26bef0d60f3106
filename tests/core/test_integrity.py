"""Checks that read content, on a real directory: magic, functions of a plugin, checksums."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from carbonation_core import archiving, contents, source
from carbonation_core.pipeline import work
from carbonation_core.preview import Preview, preview
from carbonation_core.reconcile import reconcile_delivery
from carbonation_core.stages import Stage
from tests.site import PLUGIN, SINGLE, Site, SiteMaker, touch

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


# magic, and functions of the plugin


PNG = SINGLE + '[[single.integrity]]\ntype = "magic"\nvalue = "89 50 4e47"\nextensions = [".png"]\n'


def test_leading_bytes_are_looked_at_where_the_extension_fits(make: SiteMaker) -> None:
    site = make(PNG)
    deliver(site, {"a.png": b"\x89PNG rest", "b.png": b"%PDF rest", "c.png": b"", "d.pdf": b"%PDF rest"})
    site.one_pass()
    assert site.statuses()["a.png"] == site.statuses()["d.pdf"] == "archived"
    assert refused(site, "b.png") == "begins with 25504446, where magic wants 89504e47"
    assert refused(site, "c.png") == "begins with nothing, where magic wants 89504e47"
    touch(site.incoming / "b.png", b"\x89PNG rest")
    site.one_pass()
    assert site.statuses()["b.png"] == "archived"


def test_magic_may_stand_further_in(make: SiteMaker) -> None:
    site = make(SINGLE + '[[single.integrity]]\ntype = "magic"\nvalue = "7573746172"\noffset = 257\n')
    deliver(site, {"a.tar": b"\0" * 257 + b"ustar", "b.tar": b"\0" * 300})
    site.one_pass()
    assert site.statuses()["a.tar"] == "archived"
    assert refused(site, "b.tar") == "has at byte 257 0000000000, where magic wants 7573746172"


def test_content_is_not_read_in_a_tick(make: SiteMaker) -> None:
    site = make(PNG)
    deliver(site, {"b.png": b"%PDF"})
    site.settle()
    assert site.statuses()["b.png"] == "waiting"


def with_check(function: Callable[..., Any]) -> dict[str, Any]:
    rules = SINGLE + '[[single.integrity]]\ntype = "function"\nfunction = "check"\nkwargs = { most = 3 }\n'
    return {"rules": rules, "plugin": replace(PLUGIN, integrity_functions={"check": function})}


def few_bytes(*, file_path: Path, most: int) -> str | None:
    size = len(file_path.read_bytes())
    return f"{size} bytes are too many" if size > most else None


def test_a_function_of_the_plugin_says_why_a_file_fails(make: SiteMaker) -> None:
    site = make(**with_check(few_bytes))
    deliver(site, {"a.bin": b"abc", "b.bin": b"abcd"})
    site.one_pass()
    assert site.statuses()["a.bin"] == "archived"
    assert refused(site, "b.bin") == 'fails integrity function "check": 4 bytes are too many'


def test_a_function_that_raises_is_a_failed_attempt(make: SiteMaker) -> None:
    def broken(*, file_path: Path, most: int) -> None:
        raise KeyError(most)

    site = make(**with_check(broken))
    deliver(site, {"a.bin": b"abc"})
    site.one_pass()
    component = site.component("a.bin")
    assert (component.status, component.retry_count) == ("retry_pending", 1)
    assert component.error_message == 'a.bin: integrity function "check" raised KeyError: 3'


@pytest.mark.parametrize("returned", [True, "", 3])
def test_a_function_that_returns_no_reason_is_a_failed_attempt(make: SiteMaker, returned: object) -> None:
    site = make(**with_check(lambda file_path, most: returned))
    deliver(site, {"a.bin": b"abc"})
    site.one_pass()
    assert site.statuses()["a.bin"] == "retry_pending"
    assert f"should return a reason or None, not {returned!r}" in site.component("a.bin").error_message


# sidecars


@pytest.mark.parametrize("extension", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("form", ["{d}", "{d}  run1.dat\n", "{d} *run1.dat\r\n", "{a} (run1.dat) = {d}\n"])
def test_every_kind_of_sidecar_is_understood(make: SiteMaker, extension: str, form: str) -> None:
    site = make(SIDECARS.replace(".sha256", f".{extension}"))
    said = form.format(d=hashlib.new(extension, GOOD).hexdigest(), a=extension.upper())
    deliver(site, {"run1.dat": GOOD, f"run1.dat.{extension}": said.encode()})
    deliver(site, {"run2.dat": BAD, f"run2.dat.{extension}": said.replace("run1", "run2").encode()})
    site.one_pass()
    assert set(site.archived()) == {"run1.dat", f"run1.dat.{extension}"}
    assert site.group("run1").archive_path == str(site.archive / "run1.dat")
    assert hashlib.new(extension, BAD).hexdigest() in waits(site, "run2.dat")


@pytest.mark.parametrize("order", [("run1.dat", "run1.dat.sha256"), ("run1.dat.sha256", "run1.dat")])
def test_a_sidecar_may_come_before_its_file_or_after(make: SiteMaker, order: tuple[str, str]) -> None:
    site = make(SIDECARS)
    for name in order:
        assert site.feed() == []
        deliver(site, {name: run1()[name]})
        site.one_pass()
    assert site.group_keys() == {"run1"}
    assert set(site.archived()) == {"run1.dat", "run1.dat.sha256"}


@pytest.mark.parametrize("order", [("a.bin", "a.bin.sha256"), ("a.bin.sha256", "a.bin")])
def test_a_group_of_one_waits_for_its_sidecar_too(make: SiteMaker, order: tuple[str, str]) -> None:
    site = make(ONES)
    files = {"a.bin": GOOD, "a.bin.sha256": sha256(GOOD).encode()}
    for name in order:
        assert site.feed() == []
        deliver(site, {name: files[name]})
        site.one_pass()
    assert site.feed() == [("a.bin", "completed")]
    assert site.group("a.bin").archive_path == str(site.archive / "a.bin")


def test_a_sidecar_of_the_stem_lists_the_files_of_its_group(make: SiteMaker) -> None:
    site = make(SIDECARS)
    files = {"a.b.dat": GOOD, "a.b.json": b"{}"}
    deliver(site, {**files, "a.b.sha256": sums(**files)})
    site.one_pass()
    assert site.group_keys() == {"a.b"}
    assert set(site.archived()) == {*files, "a.b.sha256"}


def test_a_file_that_a_stems_sidecar_does_not_list_waits_and_fails(make: SiteMaker) -> None:
    site = make(SIDECARS)
    deliver(site, {"run1.dat": GOOD, "run1.json": b"{}", "run1.sha256": sums(**{"run1.dat": GOOD})})
    site.one_pass()
    assert waits(site, "run1.dat") == (
        "run1.json: waits until 2026-01-01 12:10:03 UTC for its checksum in run1.sha256"
    )
    site.tick(10 * MINUTE)
    site.one_pass()
    assert refused(site, "run1.json") == "has no checksum in run1.sha256"


def test_a_sidecar_may_name_another_directory(make: SiteMaker) -> None:
    site = make(SIDECARS)
    deliver(site, {"run1.dat": GOOD, "run1.dat.sha256": f"{sha256(GOOD)}  /out/run1.dat\n".encode()})
    site.one_pass()
    assert site.group("run1").complete


def test_a_missing_sidecar_is_named_when_the_group_times_out(make: SiteMaker) -> None:
    site = make(SIDECARS)
    deliver(site, {"run1.dat": GOOD, "run2.dat.sha256": b"x", "run3.dat": GOOD, "run3.json": b"{}"})
    site.one_pass()
    site.tick(121 * MINUTE)
    assert site.component("run1.dat").error_message == "waited 120 minutes for run1.dat.sha256"
    assert site.component("run2.dat.sha256").error_message == "waited 120 minutes for .dat"
    lacking = "waited 120 minutes for run3.dat.sha256, run3.json.sha256"
    assert site.component("run3.dat").error_message == lacking


@pytest.mark.parametrize(("name", "lacks"), [("a.bin", "a.bin.sha256"), ("a.bin.sha256", "a.bin")])
def test_a_group_of_one_says_after_two_hours_what_it_lacks(make: SiteMaker, name: str, lacks: str) -> None:
    site = make(ONES)
    deliver(site, {name: b"x"})
    site.one_pass()
    site.tick(121 * MINUTE)
    assert site.component(name).error_message == f"waited 120 minutes for {lacks}"
    assert site.statuses() == {name: "waiting"}


def test_under_skip_a_late_sidecar_revives_its_group(make: SiteMaker) -> None:
    site = make(SIDECARS.replace('"stem"', '"stem"\n    on_timeout = "skip"'))
    files = run1()
    deliver(site, {"run1.dat": files["run1.dat"]})
    site.one_pass()
    site.tick(121 * MINUTE)
    assert site.statuses() == {"run1.dat": "timed_out"}
    deliver(site, files)
    site.one_pass()
    assert site.group("run1").complete


def test_archive_partial_goes_on_without_the_sidecar_and_checks_it_when_it_comes(make: SiteMaker) -> None:
    site = make(SIDECARS.replace('"stem"', '"stem"\n    on_timeout = "archive_partial"'))
    deliver(site, {"run1.dat": BAD})
    site.one_pass()
    site.tick(121 * MINUTE)
    site.run_all()
    assert site.statuses() == {"run1.dat": "archived"}
    deliver(site, {"run1.dat.sha256": run1()["run1.dat.sha256"]})
    site.one_pass()
    assert waits(site, "run1.dat.sha256").startswith("run1.dat.sha256: run1.dat in the archive: sha256 is")
    touch(site.incoming / "run1.dat", GOOD)
    site.one_pass()
    assert site.archived()["run1.dat"] == GOOD
    assert set(site.statuses().values()) == {"archived"}


def test_sidecars_are_exempt_from_the_other_checks(make: SiteMaker) -> None:
    site = make(SIDECARS + '[[pairs.integrity]]\ntype = "min_size"\nvalue = 1000\n')
    deliver(site, {"run1.dat": GOOD * 100, "run1.dat.sha256": sha256(GOOD * 100).encode()})
    site.one_pass()
    assert site.group("run1").complete


# a mismatch


def mismatch(site: Site, until: str = "2026-01-01 12:10:03") -> str:
    return (
        f"run1.dat: sha256 is {sha256(BAD)}, run1.dat.sha256 says {sha256(GOOD)}; "
        f"waits until {until} UTC for a corrected delivery"
    )


def test_a_mismatch_waits_and_then_fails_with_both_digests(make: SiteMaker) -> None:
    site = make(SIDECARS)
    deliver(site, run1(BAD))
    site.one_pass()
    assert waits(site, "run1.dat") == mismatch(site)
    assert site.group("run1").attempts == 0
    assert site.tick(5 * MINUTE).ready == 0
    site.tick(5 * MINUTE)
    site.run_all()
    assert refused(site, "run1.dat") == f"sha256 is {sha256(BAD)}, run1.dat.sha256 says {sha256(GOOD)}"
    assert site.statuses()["run1.dat.sha256"] == "waiting"
    assert site.archived() == {}
    history = site.history("run1.dat")
    site.one_pass()
    assert site.history("run1.dat") == history


@pytest.mark.parametrize("after_grace", [False, True])
@pytest.mark.parametrize("corrected", ["run1.dat", "run1.dat.sha256", "both"])
@pytest.mark.parametrize("rules", [SIDECARS, READ_ONLY])
def test_a_corrected_delivery_heals_at_once(
    make: SiteMaker, rules: str, corrected: str, after_grace: bool
) -> None:
    site = make(rules)
    deliver(site, run1(BAD))
    site.one_pass()
    if after_grace:
        site.tick(11 * MINUTE)
        site.run_all()
        assert refused(site, "run1.dat")
    wanted = GOOD
    if corrected != "run1.dat.sha256":
        touch(site.incoming / "run1.dat", GOOD)
    else:
        wanted = BAD
    if corrected != "run1.dat":
        touch(site.incoming / "run1.dat.sha256", sha256(wanted).encode())
    site.one_pass()
    assert site.archived()["run1.dat"] == wanted
    assert site.group("run1").complete
    assert site.feed() == [("run1", "completed")]


def test_the_grace_counts_from_the_last_delivery_not_from_the_first(make: SiteMaker) -> None:
    site = make(SIDECARS)
    files = run1(BAD)
    deliver(site, {"run1.dat.sha256": files["run1.dat.sha256"]})
    site.one_pass()
    site.tick(60 * MINUTE)
    deliver(site, {"run1.dat": BAD})
    site.one_pass()
    assert waits(site, "run1.dat") == mismatch(site, "2026-01-01 13:10:03")


def test_a_file_corrected_wrongly_waits_again(make: SiteMaker) -> None:
    site = make(SIDECARS)
    deliver(site, run1(BAD))
    site.one_pass()
    site.tick(9 * MINUTE)
    touch(site.incoming / "run1.dat", b"wrong again")
    site.one_pass()
    assert sha256(b"wrong again") in waits(site, "run1.dat")


def test_a_longer_grace_is_kept(make: SiteMaker) -> None:
    site = make(SIDECARS + '    grace = "2h"\n')
    deliver(site, run1(BAD))
    site.one_pass()
    assert "waits until 2026-01-01 14:00:03 UTC" in waits(site, "run1.dat")


def test_a_reconcile_judges_a_mismatch_again_and_fails_it_at_once(make: SiteMaker) -> None:
    site = make(SIDECARS)
    deliver(site, run1(BAD))
    site.one_pass()
    site.tick(11 * MINUTE)
    site.run_all()
    reconcile_delivery(site.project, "incoming")
    site.one_pass()
    assert refused(site, "run1.dat")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"nonsense\n", "line 1 is no sha256 checksum"),
        (b"# a comment\n\n" + b"12" * 16 + b"  run1.dat\n", "line 3 is no sha256 checksum"),
        (b"MD5 (run1.dat) = " + b"12" * 16, "line 1 is of md5, not of sha256"),
        (b"", "holds no checksum"),
    ],
)
def test_a_sidecar_that_cannot_be_understood_fails_by_its_line(
    make: SiteMaker, content: bytes, reason: str
) -> None:
    site = make(SIDECARS)
    deliver(site, {"run1.dat": GOOD, "run1.dat.sha256": content})
    site.one_pass()
    assert refused(site, "run1.dat.sha256") == reason
    assert site.statuses()["run1.dat"] == "waiting"
    touch(site.incoming / "run1.dat.sha256", sha256(GOOD).encode())
    site.one_pass()
    assert site.group("run1").complete


def test_a_huge_sidecar_is_not_read_into_memory(make: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make(SIDECARS)
    deliver(site, run1())
    with (site.incoming / "run1.dat.sha256").open("r+b") as file:
        file.truncate(17 << 20)
    site.one_pass()
    assert refused(site, "run1.dat.sha256") == "has more than 16 MiB, too much for a list of checksums"


# redelivery


def test_a_file_and_its_sidecar_are_delivered_again(make: SiteMaker) -> None:
    site = make(SIDECARS)
    deliver(site, run1())
    site.one_pass()
    touch(site.incoming / "run1.dat", BAD)
    site.one_pass()
    assert "sha256 is" in waits(site, "run1.dat")
    assert site.archived()["run1.dat"] == GOOD
    touch(site.incoming / "run1.dat.sha256", sha256(BAD).encode())
    site.one_pass()
    assert site.archived() == {"run1.dat": BAD, "run1.dat.sha256": sha256(BAD).encode()}
    assert site.feed() == [("run1", "completed"), ("run1", "replaced")]


def test_a_sidecar_that_gainsays_the_archive_is_not_archived(make: SiteMaker) -> None:
    site = make(SIDECARS, archive={"action": '"move"'})
    deliver(site, run1())
    site.one_pass()
    deliver(site, {"run1.dat.sha256": sha256(BAD).encode()})
    site.one_pass()
    site.tick(11 * MINUTE)
    site.run_all()
    assert refused(site, "run1.dat.sha256") == (
        f"run1.dat in the archive: sha256 is {sha256(GOOD)}, run1.dat.sha256 says {sha256(BAD)}"
    )
    assert site.archived() == run1()
    deliver(site, {"run1.dat": BAD})
    site.one_pass()
    assert site.archived()["run1.dat"] == BAD


def test_an_archived_file_is_read_where_its_digest_is_another(make: SiteMaker) -> None:
    site = make(SIDECARS.replace(".sha256", ".md5"), archive={"action": '"move"'})
    md5 = hashlib.md5(GOOD, usedforsecurity=False).hexdigest().encode()
    deliver(site, {"run1.dat": GOOD, "run1.dat.md5": md5})
    site.one_pass()
    deliver(site, {"run1.dat.md5": md5 + b"  run1.dat\n"})
    site.one_pass()
    assert site.archived()["run1.dat.md5"] == md5 + b"  run1.dat\n"


# sidecars that are only read


@pytest.mark.parametrize("action", ["copy", "move", "hardlink", "symlink"])
def test_a_sidecar_that_is_only_read_stays_in_delivery(make: SiteMaker, action: str) -> None:
    site = make(READ_ONLY, archive={"action": f'"{action}"'})
    deliver(site, run1())
    site.one_pass()
    assert site.archived() == {"run1.dat": GOOD}
    assert (site.incoming / "run1.dat.sha256").exists()
    sidecar = site.component("run1.dat.sha256")
    assert (sidecar.status, sidecar.in_delivery, sidecar.in_archive) == ("not_selected", True, False)
    assert sidecar.error_message == "was read, and stays in delivery: archive_sidecar = false"
    assert site.group("run1").complete
    before = site.history("run1.dat.sha256")
    site.tick(3600)
    site.one_pass()
    assert site.reports == []
    assert site.history("run1.dat.sha256") == before
    assert site.feed() == [("run1", "completed")]


def test_a_redelivered_file_is_judged_by_the_sidecar_that_was_only_read(make: SiteMaker) -> None:
    site = make(READ_ONLY)
    deliver(site, run1())
    site.one_pass()
    touch(site.incoming / "run1.dat", BAD)
    site.one_pass()
    assert "sha256 is" in waits(site, "run1.dat")
    touch(site.incoming / "run1.dat.sha256", sha256(BAD).encode())
    site.one_pass()
    assert site.archived() == {"run1.dat": BAD}
    assert site.statuses() == {"run1.dat": "archived", "run1.dat.sha256": "not_selected"}


def test_a_sidecar_that_is_only_read_may_change_without_any_news(make: SiteMaker) -> None:
    site = make(READ_ONLY, archive={"action": '"move"'})
    deliver(site, run1())
    site.one_pass()
    touch(site.incoming / "run1.dat.sha256", sha256(GOOD).upper().encode())
    site.one_pass()
    assert site.statuses()["run1.dat.sha256"] == "not_selected"
    assert site.feed() == [("run1", "completed")]


def test_a_late_file_is_archived_though_the_read_sidecars_are_gone(make: SiteMaker) -> None:
    site = make(READ_ONLY, archive={"action": '"move"'})
    deliver(site, run1())
    site.one_pass()
    (site.incoming / "run1.dat.sha256").unlink()
    deliver(site, {"run1.json": b"{}", "run1.json.sha256": sha256(b"{}").encode()})
    site.one_pass()
    assert set(site.archived()) == {"run1.dat", "run1.json"}
    assert site.feed() == [("run1", "completed"), ("run1", "updated")]


def test_a_sidecar_that_is_only_read_never_makes_a_group_of_its_own(make: SiteMaker) -> None:
    site = make(READ_ONLY.replace('"stem"', '"stem"\n    on_timeout = "archive_partial"'))
    deliver(site, {"run1.dat.sha256": sha256(GOOD).encode()})
    site.one_pass()
    site.tick(121 * MINUTE)
    site.run_all()
    assert not site.group("run1").complete
    assert site.statuses() == {"run1.dat.sha256": "not_selected"}
    deliver(site, {"run1.dat": GOOD})
    site.one_pass()
    assert site.archived() == {"run1.dat": GOOD}


def test_an_extractor_does_not_get_what_is_only_read(make: SiteMaker) -> None:
    got: list[list[str]] = []

    def names(file_paths: list[Path]) -> dict[str, Any]:
        got.append([path.name for path in file_paths])
        return {}

    rules = READ_ONLY + '[pairs.metadata]\nextract = "names"\n'
    site = make(rules, plugin=replace(PLUGIN, extractors={"names": names}))
    deliver(site, run1())
    site.one_pass()
    assert got == [["run1.dat"]]


def test_rejected_sidecars_are_judged_again_with_their_file(make: SiteMaker) -> None:
    site = make(READ_ONLY + '[[pairs.selection]]\nhas_keys = ["never"]\n')
    deliver(site, run1())
    site.one_pass()
    assert set(site.statuses().values()) == {"not_selected"}
    site.set_rules(READ_ONLY)
    site.tick()
    site.one_pass()
    assert site.archived() == {"run1.dat": GOOD}


# manifests


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
    original = contents.parse

    def corrected_meanwhile(content: bytes, algorithm: str | None) -> Any:
        touch(site.incoming / "SHA256SUMS", sums(**{"a.bin": GOOD}))
        return original(content, algorithm)

    monkeypatch.setattr(contents, "parse", corrected_meanwhile)
    site.run_all()
    assert site.statuses()["a.bin"] == "waiting"
    monkeypatch.undo()
    site.one_pass()
    assert site.archived() == {"a.bin": GOOD}


# no window


def test_what_was_not_checked_is_not_archived(make: SiteMaker) -> None:
    site = make(SIDECARS)
    deliver(site, run1())
    site.settle()
    (offer,) = site.claim()
    with work(site.project, offer.batch_id, "run-1") as job:
        job.advance(Stage.ROUTE)
        touch(site.incoming / "run1.dat", BAD)  # settles before the next stage begins
        site.settle()
        job.advance(Stage.ARCHIVE)
        job.finish()
    assert site.archived() == {}
    site.one_pass()
    assert "sha256 is" in waits(site, "run1.dat")


def test_a_file_is_read_once_more_only_as_it_was_judged(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(SIDECARS)
    deliver(site, run1())
    site.settle()
    original = source.opened

    def exchanged(one: source.Source) -> Any:
        if one.path.endswith(".dat"):
            (site.incoming / "run1.dat").replace(site.incoming / ".kept")
            (site.incoming / "run1.dat").symlink_to("/etc/passwd")
        return original(one)

    monkeypatch.setattr(source, "opened", exchanged)
    (report,) = site.run_all()
    assert report.groups[0].outcome == "waiting"
    assert "symlink" in str(report.groups[0].reason)
    assert site.archived() == {}


def test_a_sidecar_that_is_corrected_while_others_are_read_is_not_overruled(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(SIDECARS)
    deliver(site, run1(BAD))
    site.settle()
    original = contents.parse

    def corrected_meanwhile(content: bytes, algorithm: str | None) -> Any:
        touch(site.incoming / "run1.dat.sha256", sha256(BAD).encode())
        return original(content, algorithm)

    monkeypatch.setattr(contents, "parse", corrected_meanwhile)
    site.tick_clock(3600)  # the grace is over
    site.run_all()
    assert site.statuses()["run1.dat"] == "waiting"
    monkeypatch.undo()
    site.one_pass()
    assert site.archived()["run1.dat"] == BAD


def test_a_file_that_joins_its_group_during_a_transfer_is_archived_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    original = archiving.publish

    def with_a_late_file(transfers: Any) -> Any:
        site.deliver("run1.txt")
        site.settle()
        return original(transfers)

    monkeypatch.setattr(archiving, "publish", with_a_late_file)
    site.run_all()
    monkeypatch.undo()
    site.one_pass()
    assert site.statuses()["run1.txt"] == "archived"


# names, groups by a plugin, previews, rules that change


@pytest.mark.parametrize("name", [b"latin-\xe9.bin", b"two\nlines.bin", b"back\\slash.bin", b" spaces  .bin"])
def test_any_name_can_have_a_checksum(make: SiteMaker, name: bytes) -> None:
    site = make(ONES)
    directory = os.fsencode(site.incoming)
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    line = (b"\\" if escaped != name else b"") + sha256(GOOD).encode() + b"  " + escaped + b"\n"
    for path, content in ((name, GOOD), (name + b".sha256", line)):
        Path(os.fsdecode(os.path.join(directory, path))).write_bytes(content)
    other = sha256(GOOD).encode() + b"  another.bin\n" + line
    site.one_pass()
    assert site.component(os.fsdecode(name)).status == "archived"
    touch(Path(os.fsdecode(os.path.join(directory, name + b".sha256"))), other)
    site.one_pass()
    assert site.component(os.fsdecode(name + b".sha256")).status == "archived"


def test_a_group_function_says_itself_where_sidecars_belong(make: SiteMaker) -> None:
    site = make(
        SIDECARS.replace('group_by = "stem"', 'group_by = "plugin"\n    group_function = "by_first_letter"')
    )
    files = {"a1.dat": GOOD, "a2.json": b"{}"}
    deliver(site, files)
    deliver(site, {f"{name}.sha256": sha256(content).encode() for name, content in files.items()})
    deliver(site, {"b1.dat": GOOD, "c1.dat.sha256": sha256(GOOD).encode()})
    site.one_pass()
    assert len(site.archived()) == 4
    site.tick(121 * MINUTE)
    assert site.component("b1.dat").error_message == "waited 120 minutes for b1.dat.sha256"


def test_a_preview_says_what_the_checks_would_say(make: SiteMaker) -> None:
    site = make(READ_ONLY + '[[pairs.integrity]]\ntype = "magic"\nvalue = "74"\nextensions = [".dat"]\n')
    deliver(site, run1())
    deliver(site, {"run2.dat": b"toto", "run2.dat.sha256": sha256(GOOD).encode()})
    deliver(site, {"run3.dat": BAD, "run3.dat.sha256": sha256(BAD).encode(), "run4.dat": GOOD})
    found = previewed(site)
    assert (found["run1"].verdict, found["run1"].reason) == ("archive", "run1.dat to main")
    assert found["run2"].verdict == "retry_pending"
    assert "waits until 2026-01-01 12:10:00 UTC for a corrected delivery" in found["run2"].reason
    assert found["run3"].verdict == "integrity_failed"
    assert found["run3"].reason == "run3.dat begins with 6f, where magic wants 74"
    assert (found["run4"].verdict, found["run4"].reason) == ("waiting", "waits for run4.dat.sha256")
    site.one_pass()
    assert previewed(site)["run1"].verdict == "archived already"
    site.tick_clock(11 * MINUTE)
    assert previewed(site)["run2"].verdict == "integrity_failed"


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


def test_a_clock_that_jumps_a_day_only_ends_the_grace_early(make: SiteMaker) -> None:
    site = make(SIDECARS)
    deliver(site, run1(BAD))
    site.one_pass()
    site.now += timedelta(days=1)
    site.one_pass()
    assert refused(site, "run1.dat")
    site.now -= timedelta(days=1)
    touch(site.incoming / "run1.dat", GOOD)
    site.one_pass()
    assert site.group("run1").complete
