"""Whether a service is the head of its site, by what the database says and by the time that has passed."""

import pytest

from carbonation_core import head
from carbonation_core.errors import DatabaseError
from carbonation_core.reports.status import status
from carbonation_dagster.service.head import TO_STOP, Head
from tests.site import Site

LEASE = head.LEASE.total_seconds()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ours(site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Head:
    monkeypatch.setattr(head, "has_lease", lambda project: True)
    return Head(site.project, clock)


def test_where_there_is_no_lease_every_service_works(site: Site) -> None:
    with Head(site.project) as one, Head(site.project) as other:
        assert (one.is_ours, other.is_ours) == (True, True)
    assert head.current(site.project) is None


def test_it_is_none_before_it_has_asked_and_while_another_is(ours: Head, site: Site) -> None:
    assert (ours.is_ours, ours.obstacle) == (False, None)
    head.hold(site.project, "elsewhere/1/1#service")
    ours.ask()
    assert not ours.is_ours
    assert "is the head of site" in str(ours.obstacle)
    assert [(one.part, one.state) for one in status(site.project).sites] == [("standby", "waits")]
    head.let_go(site.project, "elsewhere/1/1#service")
    ours.ask()
    assert (ours.is_ours, ours.obstacle) == (True, None)
    assert status(site.project).sites == ()


def test_a_head_that_is_not_heard_ends_before_another_may_begin(
    ours: Head, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise DatabaseError("it is away")

    ours.ask()
    with monkeypatch.context() as later:
        later.setattr(head, "hold", away)
        clock.now += LEASE - TO_STOP - 1
        ours.ask()
        assert ours.is_ours
        clock.now += 1
        assert (ours.is_ours, ours.obstacle) == (False, "it is away")
    ours.ask()
    assert ours.is_ours


def test_it_lets_go_at_its_end(ours: Head, site: Site) -> None:
    with ours:
        while not ours.is_ours:
            pass
        assert head.current(site.project) is not None
    assert head.current(site.project) is None
