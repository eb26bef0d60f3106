"""Checksums that come beside their file, on a real directory."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import databases
from tests.core._helpers.sums import (
    BAD,
    GOOD,
    MINUTE,
    ONES,
    READ_ONLY,
    SIDECARS,
    deliver,
    previewed,
    refused,
    run1,
    sha256,
    sums,
    waits,
)
from tests.site import PLUGIN, SiteMaker, touch

pytestmark = databases.one  # bytes and what is said of them


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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"nonsense\n", "line 1 is no sha256 checksum"),
        (
            b"# a comment\n\n" + b"12" * 16 + b"  run1.dat\n",
            "line 3 is no sha256 checksum, but has the length of md5",
        ),
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


@databases.each
def test_rejected_sidecars_are_judged_again_with_their_file(make: SiteMaker) -> None:
    site = make(READ_ONLY + '[[pairs.selection]]\nhas_keys = ["start"]\n')
    deliver(site, run1())
    site.one_pass()
    assert set(site.statuses().values()) == {"not_selected"}
    site.set_rules(READ_ONLY)
    site.tick()
    site.one_pass()
    assert site.archived() == {"run1.dat": GOOD}


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
