"""What follows from a look, by values alone: no database, no disk, no clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbonation_core.config.sections import ServiceSection, Watch
from carbonation_core.db.components import Change, Component
from carbonation_core.delivery.diff import Diff, Facts, Kind, diff, groups_in_question, settled
from carbonation_core.delivery.grouping import NoKey
from carbonation_core.disk.scan import Look, Seen
from carbonation_core.disk.stamp import Stamp
from carbonation_core.lifecycle import Event, FileStatus, may
from carbonation_core.rules.rule_sets import RuleSet

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTLE = timedelta(seconds=2)
OLD, NEW = Stamp(5, 1, 1, "1:1"), Stamp(6, 2, 2, "1:1")
PAIR = {"completeness": {"group_by": "stem", "expected_extensions": [".dat", ".json"]}}
BY_PLUGIN = {"completeness": {"group_by": "plugin", "group_function": "f"}}


def file(name: str = "a.dat", status: FileStatus = FileStatus.DETECTED, **columns: Any) -> Component:
    """A file that lies in delivery and has settled."""
    usual = {
        "id": 1,
        "watch_name": "w",
        "filename": name.rpartition("/")[2],
        "source_path": f"/in/{name}",
        "stamp": OLD,
        "quiet_since": NOW - SETTLE,
        "status": status,
        "in_delivery": True,
        "in_archive": status is FileStatus.ARCHIVED,
        "group_id": None if status is FileStatus.DETECTED else 7,
        "digest": None,
        "archive_name": None,
        "archive_path": None,
        "error_message": None,
        "retry_count": 0,
        "retry_at": None,
        "detected_at": NOW,
    }
    return Component(**{**usual, **columns})


def facts(
    *known: Component,
    seen: tuple[Seen, ...] | None = None,
    rules: dict[str, Any] = PAIR,
    watch: dict[str, Any] | None = None,
    unseen: tuple[tuple[str, str], ...] = (),
    **more: Any,
) -> Facts:
    """What is known is seen as it was, unless something else is seen."""
    if seen is None:
        seen = tuple(Seen(one.source_path.removeprefix("/in/"), one.stamp) for one in known)
    return Facts(
        Watch.model_validate({"name": "w", "path": "/in", "rules": "r", **(watch or {})}),
        RuleSet.model_validate(rules),
        ServiceSection(max_retries=3),
        NOW,
        Look(seen, unseen),
        {one.source_path: one for one in known},
        **more,
    )


def no_plugin(path: str) -> str:
    return path.removeprefix("/in/").rpartition(".")[0]


def diffed(facts: Facts, key: str | NoKey | None = None) -> Diff:
    return diff(facts, (lambda path: key) if key is not None else no_plugin)


def only_change(found: Diff) -> Change:
    (effect,) = found.effects
    assert effect.change is not None
    return effect.change


def test_to_settle_begins_with_the_last_file_event_or_with_a_change_that_came_after_it() -> None:
    """As when the event of a change is still on its way."""
    second, written = timedelta(seconds=1), int((NOW.timestamp() - 3600) * 1e9)
    quiet, half_ago = {"/in/a.dat": second}, Stamp(6, 2, int((NOW.timestamp() - 0.5) * 1e9), "1:1")
    long_ago, soon = Stamp(6, 2, written, "1:1"), Stamp(6, 2, int((NOW.timestamp() + 9) * 1e9), "1:1")
    for stamp, left in ((long_ago, 1.0), (half_ago, 1.5), (soon, 2.0)):
        seen = (Seen("a.dat", stamp),)
        assert diffed(facts(seen=seen, quiet=quiet)).unsettled == [timedelta(seconds=left)]
        found = diffed(facts(file(), seen=seen, quiet=quiet))
        assert found.unsettled == [timedelta(seconds=left)]
        assert only_change(found).values["quiet_since"] == NOW - SETTLE + timedelta(seconds=left)
    assert diffed(facts(seen=(Seen("a.dat", long_ago),))).unsettled == [SETTLE]


def test_a_file_never_seen_before_arrives_and_has_to_settle() -> None:
    found = diffed(facts(seen=(Seen("a.dat", OLD),)))
    assert [(one.source_path, one.stamp) for one in found.arrivals] == [("/in/a.dat", OLD)]
    assert (found.unsettled, found.news) == ([SETTLE], ["/in/a.dat"])
    assert found.touched_keys == found.unsettled_keys == {"a"}


@pytest.mark.parametrize("status", [one for one in FileStatus if one is not FileStatus.DETECTED])
def test_from_a_file_that_is_as_it_was_nothing_follows(status: FileStatus) -> None:
    assert diffed(facts(file(status=status))).is_empty


def test_a_file_that_has_settled_joins_its_group() -> None:
    found = diffed(facts(file()))
    assert only_change(found).event is Event.GROUPED
    assert found.keys == {1: "a"}


def test_a_file_that_has_not_settled_is_waited_for() -> None:
    found = diffed(facts(file(quiet_since=NOW - SETTLE / 2)))
    assert (found.is_empty, found.unsettled, found.unsettled_keys) == (True, [SETTLE / 2], {"a"})


def test_a_file_that_grows_begins_to_settle_anew() -> None:
    found = diffed(facts(file(), seen=(Seen("a.dat", NEW),)))
    change = only_change(found)
    assert (change.event, change.values["quiet_since"], change.values["size_bytes"]) == (None, NOW, 6)
    assert (found.number(Kind.GROWS), found.news, found.unsettled) == (1, [], [SETTLE])


def test_when_the_clock_went_back_only_what_is_seen_from_now_on_counts() -> None:
    found = diffed(facts(file(quiet_since=NOW + timedelta(hours=1))))
    assert only_change(found).values == {"quiet_since": NOW}
    assert found.unsettled == [SETTLE]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (facts(file(), seen=(Seen("a.dat", OLD, "is a symlink"),)), "is a symlink"),
        (facts(file(), unreadable={"/in/a.dat": "cannot be read"}), "cannot be read"),
        (
            facts(file(), rules={"integrity": [{"type": "min_size", "value": 9}]}),
            "has 5 bytes, fewer than min_size = 9",
        ),
    ],
)
def test_a_file_that_settles_with_a_fault_fails_its_check(facts: Facts, reason: str) -> None:
    change = only_change(diffed(facts))
    assert (change.event, change.reason) == (Event.CHECK_FAILED, reason)


def test_of_what_has_settled_it_is_asked_whether_it_can_be_read() -> None:
    grows = file("b.dat", quiet_since=NOW)
    assert settled(facts(file(), grows, file("c.dat", FileStatus.WAITING))) == ["/in/a.dat"]


def test_a_list_of_checksums_is_left_alone() -> None:
    rules = {"integrity": [{"type": "checksum", "manifest": "SUMS"}]}
    found = diffed(facts(file("SUMS"), rules=rules))
    assert only_change(found).event is Event.LEFT_ALONE
    assert [one.filename for one in found.manifests] == ["SUMS"]


def test_a_file_that_the_plugin_leaves_alone_leaves_its_group() -> None:
    change = only_change(diffed(facts(file(group_id=7), rules=BY_PLUGIN), NoKey("not mine")))
    assert (change.event, change.reason, change.values) == (Event.LEFT_ALONE, "not mine", {"group_id": None})


@pytest.mark.parametrize(
    ("failed_before", "event"), [(0, Event.ATTEMPT_FAILED), (2, Event.ATTEMPT_FAILED), (3, Event.GAVE_UP)]
)
def test_a_group_function_that_fails_is_an_attempt_that_failed(failed_before: int, event: Event) -> None:
    one = file(retry_count=failed_before)
    change = only_change(diffed(facts(one, rules=BY_PLUGIN), NoKey("raised", failed=True)))
    assert (change.event, change.values["retry_count"]) == (event, failed_before + 1)


@pytest.mark.parametrize(("retry_at", "event"), [(NOW, Event.RECHECKED), (NOW + SETTLE, None)])
def test_a_file_without_a_group_is_tried_again_when_its_time_has_come(
    retry_at: datetime, event: Event | None
) -> None:
    found = diffed(facts(file(status=FileStatus.RETRY_PENDING, group_id=None, retry_at=retry_at)))
    assert [change.event for change in found.changes] == ([event] if event else [])


def test_where_the_plugin_gives_keys_no_group_is_known_by_a_name() -> None:
    found = diffed(facts(seen=(Seen("a.dat", OLD),), rules=BY_PLUGIN))
    assert found.touched_keys == found.unsettled_keys == set()


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (FileStatus.WAITING, Event.CHANGED),
        (FileStatus.FAILED, Event.CHANGED),
        (FileStatus.ARCHIVED, Event.REDELIVERED),
        (FileStatus.MISSING, Event.REDELIVERED),
    ],
)
def test_other_bytes_are_news(status: FileStatus, event: Event) -> None:
    found = diffed(facts(file(status=status), seen=(Seen("a.dat", NEW),)))
    assert (only_change(found).event, found.news, found.touched) == (event, ["/in/a.dat"], {7})


@pytest.mark.parametrize(
    ("status", "stamp", "event"),
    [
        (FileStatus.CLEARED, OLD, Event.RETURNED),
        (FileStatus.ARCHIVED, NEW, Event.REDELIVERED),
        (FileStatus.MISSING, OLD, Event.REDELIVERED),
        (FileStatus.FAILED, OLD, Event.CHANGED),
    ],
)
def test_a_file_that_is_back_has_to_settle(status: FileStatus, stamp: Stamp, event: Event) -> None:
    found = diffed(facts(file(status=status, in_delivery=False), seen=(Seen("a.dat", stamp),)))
    assert (only_change(found).event, found.number(Kind.RETURNED), found.unsettled) == (event, 1, [SETTLE])


def test_the_very_file_that_was_archived_may_come_back_without_a_word() -> None:
    found = diffed(facts(file(status=FileStatus.ARCHIVED, in_delivery=False), seen=(Seen("a.dat", OLD),)))
    assert (only_change(found).values, found.news) == ({"in_delivery": True}, [])


@pytest.mark.parametrize(
    ("one", "event"),
    [
        (file(), Event.LEFT),
        (file(status=FileStatus.WAITING), Event.LEFT),
        (file(status=FileStatus.WAITING, in_archive=True), Event.WITHDRAWN),
        (file(status=FileStatus.ARCHIVED), None),
        (file(status=FileStatus.FAILED), None),
    ],
)
def test_what_is_not_there_has_left(one: Component, event: Event | None) -> None:
    found = diffed(facts(one, seen=()))
    assert (only_change(found).event, found.number(Kind.GONE)) == (event, 1)


def test_what_the_patterns_no_longer_take_left_for_that_reason() -> None:
    found = diffed(facts(file(), seen=(), watch={"patterns": ["*.bin"]}))
    assert only_change(found).reason == "the watch's patterns no longer take it"


def test_what_cannot_be_seen_has_not_left() -> None:
    hidden = file("deep/a.dat", FileStatus.WAITING)
    assert diffed(facts(hidden, seen=(), unseen=(("deep", "Permission denied"),))).is_empty


def test_what_lies_where_the_watch_looked_before_has_left_for_that_reason() -> None:
    before = file(status=FileStatus.WAITING, source_path="/before/a.dat")
    found = diffed(facts(before, seen=()))
    assert only_change(found).reason == "the watch looks at /in now"


MOVED = file(status=FileStatus.ARCHIVED, archive_name="main")


@pytest.mark.parametrize(
    ("one", "more", "is_taken_up"),
    [
        (MOVED, {}, True),
        (MOVED, {"owned": frozenset({7})}, False),  # whoever moves it is at work
        (MOVED, {"whole": False}, False),
        (MOVED, {"moving": frozenset({"other"})}, False),
        (MOVED._replace(error_message="its source may not be removed"), {}, False),
    ],
)
def test_a_source_that_nobody_will_move_away_is_taken_up(
    one: Component, more: dict[str, Any], is_taken_up: bool
) -> None:
    found = diffed(facts(one, **{"moving": frozenset({"main"}), **more}))
    assert [change.event for change in found.changes] == ([Event.REDELIVERED] if is_taken_up else [])


def test_other_rules_judge_again_what_nobody_works_on() -> None:
    files = [file(f"{n}.dat", status, id=n, group_id=n) for n, status in enumerate(FileStatus)]
    asked = facts(*files, other_rules=True)
    again = {change.component.status for change in diffed(asked).changes} - {FileStatus.DETECTED}
    assert again == {
        FileStatus.NOT_SELECTED,
        FileStatus.WAITING,
        FileStatus.INTEGRITY_FAILED,
        FileStatus.TIMED_OUT,
        FileStatus.FAILED,
    }
    owned = diffed(replace(asked, owned=frozenset(groups_in_question(asked))))
    assert [change.event for change in owned.changes] == [Event.GROUPED]


STAMPS = st.sampled_from([OLD, NEW])
NAMES = st.sampled_from(["a.dat", "a.json", "b.dat", "deep/c.dat", "SUMS"])
FILES = st.builds(
    file,
    NAMES,
    st.sampled_from(FileStatus),
    stamp=STAMPS,
    quiet_since=st.sampled_from([NOW, NOW - SETTLE, NOW + SETTLE]),
    in_delivery=st.booleans(),
    in_archive=st.booleans(),
    group_id=st.sampled_from([None, 1, 2]),
    archive_name=st.sampled_from([None, "main"]),
    retry_count=st.integers(0, 4),
    retry_at=st.sampled_from([None, NOW, NOW + SETTLE]),
)
GONE = (FileStatus.CLEARED, FileStatus.ARCHIVED, FileStatus.MISSING, FileStatus.FAILED)


def is_possible(one: Component) -> bool:
    """Nothing else is ever out of delivery, and what was cleared always is."""
    return one.status is not FileStatus.CLEARED if one.in_delivery else one.status in GONE


LOOKS = st.dictionaries(NAMES, st.builds(Seen, st.just(""), STAMPS, st.sampled_from([None, "a device"])))


@given(
    known=st.lists(FILES.filter(is_possible), unique_by=lambda one: one.source_path),
    seen=LOOKS,
    rules=st.sampled_from([PAIR, BY_PLUGIN, {"integrity": [{"type": "checksum", "manifest": "SUMS"}]}]),
    key=st.sampled_from(["k", NoKey("not mine"), NoKey("raised", failed=True)]),
    whole=st.booleans(),
    other_rules=st.booleans(),
    owned=st.frozensets(st.sampled_from([1, 2])),
)
def test_whatever_is_seen_each_file_has_one_effect_at_most_and_one_that_may_be(
    known: list[Component], seen: dict[str, Seen], rules: dict[str, Any], key: str | NoKey, **more: Any
) -> None:
    looked = tuple(replace(entry, path=name) for name, entry in seen.items())
    numbered = [one._replace(id=number) for number, one in enumerate(known)]
    asked = facts(*numbered, seen=looked, rules=rules, moving=frozenset({"main"}), **more)

    found = diffed(asked, key)

    paths = [effect.path for effect in found.effects]
    assert len(set(paths)) == len(paths)
    assert all(may(change.component.status, change.event) for change in found.changes if change.event)
    assert {one.source_path for one in found.arrivals} == asked.found().keys() - asked.known.keys()
    assert found.keys.keys() == {c.component.id for c in found.changes if c.event is Event.GROUPED}
