"""A file that is not what its checksum says: how long it is waited for, and what heals it."""

from datetime import timedelta
from typing import Any

import pytest

from carbonation_core.disk import source
from carbonation_core.lifecycle import Stage
from carbonation_core.pipeline import integrity
from carbonation_core.pipeline.work import work
from carbonation_core.reconcile.delivery import reconcile_delivery
from tests import databases
from tests.core._helpers.sums import (
    BAD,
    GOOD,
    MINUTE,
    READ_ONLY,
    SIDECARS,
    deliver,
    refused,
    run1,
    sha256,
    waits,
)
from tests.site import Site, SiteMaker, touch

pytestmark = databases.one  # bytes, and how long they are waited for


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


@databases.each
def test_a_reconcile_judges_a_mismatch_again_and_fails_it_at_once(make: SiteMaker) -> None:
    site = make(SIDECARS)
    deliver(site, run1(BAD))
    site.one_pass()
    site.tick(11 * MINUTE)
    site.run_all()
    reconcile_delivery(site.project, "incoming")
    site.one_pass()
    assert refused(site, "run1.dat")


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
    original = integrity.parse

    def corrected_meanwhile(content: bytes, algorithm: str | None) -> Any:
        touch(site.incoming / "run1.dat.sha256", sha256(BAD).encode())
        return original(content, algorithm)

    monkeypatch.setattr(integrity, "parse", corrected_meanwhile)
    site.tick_clock(3600)  # the grace is over
    site.run_all()
    assert site.statuses()["run1.dat"] == "waiting"
    monkeypatch.undo()
    site.one_pass()
    assert site.archived()["run1.dat"] == BAD


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
