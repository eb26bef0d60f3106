"""Random deliveries, rules, passes and kills: in the end every byte is archived or says why not.

`SOAK=2000 pytest tests/core/test_properties.py` tries that many examples of each
kind instead of a few that are always the same.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from carbonation_core.db.batches import RUNNING
from carbonation_core.db.engine import reading
from carbonation_core.db.models import FeedEntry, FileComponent
from carbonation_core.delivery.retry import retry
from carbonation_core.lifecycle import RETRIABLE, FileStatus
from carbonation_core.pipeline.claim import open_batches
from tests import databases
from tests.faults._helpers.dying import STEPS, pass_that_dies, recover, work_on_all
from tests.site import File, Site, make_site

SOAK = int(os.environ.get("SOAK", "0"))
FEW = settings(
    max_examples=SOAK or (7 if databases.SQLITE else 3),
    stateful_step_count=30 if SOAK else 18,
    derandomize=not SOAK,
    phases=[Phase.generate, *([Phase.shrink] if SOAK else [])],  # which can take minutes
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=bool(SOAK),
)

NAMES = st.sampled_from(["a.dat", "a.json", "a.txt", "b.dat", "b.json", "lone.dat"])
CONTENT = st.sampled_from([b"one", b"two", b"test", b"broken", b"longer bytes", b""])
ON_TIMEOUT = st.sampled_from(["warn", "skip", "archive_partial"])
EXTRACTION = {
    "none": "",
    "selecting": """
        [pairs.metadata]
        extract = "sizes"
        [[pairs.selection]]
        type = "plugin"
        function = "no_tests"
    """,
    "breaking": """
        [pairs.metadata]
        extract = "broken"
    """,
}
# All but those that only a second attempt would reach.
MOMENTS = [(step, when, 1) for step in STEPS for when in ("before", "after")]
MOMENTS += [(step, when, 2) for step in ("write", "publish", "remove source") for when in ("before", "after")]
# Why a component that has come to its end is not archived.
EXPLAINED = ("integrity_failed", "not_selected", "failed", "timed_out")


def rules_text(extraction: str, on_timeout: str) -> str:
    return f"""
        [pairs.completeness]
        group_by = "stem"
        expected_extensions = [".dat", ".json"]
        optional_extensions = [".txt"]
        primary_extension = ".dat"
        timeout_minutes = 10
        on_timeout = "{on_timeout}"
        [[pairs.integrity]]
        type = "min_size"
        value = 1
        {EXTRACTION[extraction]}
    """


def source_name(archived: str) -> str:
    """The name that a file in the archive has in delivery, unless that looks like a version."""
    return re.sub(r"\.v[0-9]+(?=\.[a-z]+$)", "", archived)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Deliveries(RuleBasedStateMachine):
    """A sender, an operator, a clock, and passes that may be killed."""

    redelivery = "replace"

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.delivered: dict[str, set[str]] = defaultdict(set)  # digests by name
        self.left_over: set[str] = set()  # paths in the archive that nothing is recorded of

    @initialize(
        action=st.sampled_from(["copy", "move"]),
        on_conflict=st.sampled_from(["error", "version"]),
        on_timeout=ON_TIMEOUT,
    )
    def begin(self, action: str, on_conflict: str, on_timeout: str) -> None:
        self.action, self.on_conflict = action, on_conflict
        self.site: Site = make_site(
            self.directory,
            rules_text("none", on_timeout),
            watch={"redelivery": f'"{self.redelivery}"'},
            archive={"action": f'"{action}"', "on_conflict": f'"{on_conflict}"'},
            service={"single_group_runs": "1", "max_retries": "2", "retry_delay": '"1m"'},
        )

    def teardown(self) -> None:
        if hasattr(self, "site"):
            try:
                self._come_to_rest()
                self._all_is_well()
            finally:
                self.site.close()
                shutil.rmtree(self.directory)

    # What a sender does.

    @rule(name=NAMES, content=CONTENT, in_place=st.booleans())
    def deliver(self, name: str, content: bytes, in_place: bool) -> None:
        path = self.site.incoming / name
        self.delivered[name].add(digest(content))
        # A source that is moved is one file with its archived copy until it is
        # removed, so a sender that wrote into it would write into the archive.
        if in_place and self.action == "copy":
            path.write_bytes(content)
            return
        other = path.with_name(".upload")
        other.write_bytes(content)
        other.rename(path)

    @rule(stem=st.sampled_from(["a", "b"]), content=CONTENT)
    def deliver_a_pair(self, stem: str, content: bytes) -> None:
        for ending in (".dat", ".json"):
            self.deliver(stem + ending, content, in_place=False)

    @rule(name=NAMES, to=NAMES)
    def rename(self, name: str, to: str) -> None:
        path = self.site.incoming / name
        if path.exists():
            self.delivered[to].add(digest(path.read_bytes()))
            path.rename(self.site.incoming / to)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        (self.site.incoming / name).unlink(missing_ok=True)

    # What an operator and the time do.

    @rule(extraction=st.sampled_from(sorted(EXTRACTION)), on_timeout=ON_TIMEOUT)
    def change_rules(self, extraction: str, on_timeout: str) -> None:
        self.site.set_rules(rules_text(extraction, on_timeout))

    @rule(status=st.sampled_from(RETRIABLE))
    def retry(self, status: FileStatus) -> None:
        retry(self.site.project, status=status)

    @rule(seconds=st.sampled_from([1, 3, 70, 700, 30_000, -3, -90_000]))
    def let_time_pass(self, seconds: int) -> None:
        self.site.tick_clock(seconds)

    # What the service does.

    @rule()
    def look(self) -> None:
        self.site.tick()

    @rule()
    def make_an_offer(self) -> None:
        self.site.settle()
        self.site.claim()

    @rule()
    def do_a_pass(self) -> None:
        self._recover()
        self.site.settle()
        work_on_all(self.site)

    @rule(
        stem=st.sampled_from(["a", "b"]),
        content=st.sampled_from([b"one", b"two", b"longer bytes"]),
        moment=st.sampled_from(MOMENTS),
    )
    def kill_a_pass(self, stem: str, content: bytes, moment: tuple[str, str, int]) -> None:
        self._recover()
        self.deliver_a_pair(stem, content)
        pass_that_dies(self.site, *moment)

    @rule(stem=st.sampled_from(["a", "b"]), moment=st.sampled_from(MOMENTS))
    def kill_a_pass_with_a_redelivery(self, stem: str, moment: tuple[str, str, int]) -> None:
        self.deliver_a_pair(stem, b"first")
        self.do_a_pass()
        self.kill_a_pass(stem, b"again", moment)

    def _recover(self) -> None:
        recover(self.site)
        recorded = {copy.path for copy in self.site.copies() if copy.path_key is not None}
        for name in self.site.archived():
            path, source = str(self.site.archive / name), self.site.incoming / source_name(name)
            # Published by a pass that was killed; if its sender has then removed
            # it, there it stays, and otherwise it is taken back.
            if path not in recorded and not source.exists():
                self.left_over.add(path)

    # What always holds, and what holds in the end.

    @precondition(lambda self: hasattr(self, "site"))
    @invariant()
    def archive_is_as_recorded(self) -> None:
        """Unless a dead batch is still to be cleared, every current copy is there with its digest."""
        if any(batch.status == RUNNING for batch in open_batches(self.site.project, "incoming")):
            return
        archived = self.site.archived()
        current = [copy for copy in self.site.copies() if copy.path_key is not None]
        assert len({copy.path for copy in current}) == len(current)
        found = {str(self.site.archive / name): digest(content) for name, content in archived.items()}
        recorded = {copy.path: copy.digest for copy in current}
        assert recorded.items() <= found.items()
        assert found.keys() <= recorded.keys() | self.left_over
        for name, content in archived.items():
            one_of = self.delivered[name] | self.delivered[source_name(name)]
            assert digest(content) in one_of, "it was never delivered"

    def _come_to_rest(self) -> None:
        # Longer than the clock went back, and as often as a group has attempts.
        for seconds in (0, 100, *[100_000] * 6):
            self.site.tick_clock(seconds)
            self.do_a_pass()

    def _all_is_well(self) -> None:
        self.archive_is_as_recorded()
        site = self.site
        assert open_batches(site.project, "incoming") == []
        with reading(site.project.engine) as connection:
            files = connection.execute(select(FileComponent.__table__)).all()
            groups = {row.id: row for row in connection.execute(select(File.__table__))}
            feed = connection.execute(
                select(FeedEntry.sequence, FeedEntry.group_id, FeedEntry.event).order_by(FeedEntry.sequence)
            ).all()
        assert {file.filename for file in files} >= site.delivered()
        current = {copy.path: copy for copy in site.copies() if copy.path_key is not None}
        for file in files:
            self._has_come_to_its_end(file, current)
        for group in groups.values():
            assert group.batch_id is None
            assert group.due_at is None
            members = [file for file in files if file.group_id == group.id]
            waiting = [file for file in members if file.status == "waiting"]
            there = waiting + [file for file in members if file.status == "archived"]
            if waiting:
                endings = {Path(file.filename).suffix for file in there}
                assert not {".dat", ".json"} <= endings, "it is whole, and waits"
        assert [sequence for sequence, _, _ in feed] == sorted({sequence for sequence, _, _ in feed})
        first = {group_id: event for _, group_id, event in reversed(feed)}
        assert set(first.values()) <= {"completed"}
        assert set(first) == {group.id for group in groups.values() if group.complete}

    def _has_come_to_its_end(self, file: Any, current: dict[str, Any]) -> None:
        path = self.site.incoming / file.filename
        assert file.in_delivery == path.exists()
        assert file.status not in ("detected", "retry_pending", "missing")
        if file.in_archive:
            assert current[file.archive_path].component_id == file.id
            assert current[file.archive_path].digest == file.digest
        if not path.exists():
            assert file.status in ("archived", "cleared", "failed")
            return
        assert file.status != "cleared"
        if file.status in EXPLAINED:
            assert file.error_message
        if file.status == "archived":
            same = digest(path.read_bytes()) == file.digest
            assert same or 'redelivery = "ignore"' in file.error_message
            assert self.action == "copy" or not same, "a move has left its source"


class Replacing(Deliveries):
    redelivery = "replace"


class Versioning(Deliveries):
    redelivery = "version"


class Ignoring(Deliveries):
    redelivery = "ignore"


class Refusing(Deliveries):
    redelivery = "error"


TestReplacing = pytest.mark.usefixtures("on_each_database")(pytest.mark.slow(Replacing.TestCase))
TestVersioning = pytest.mark.slow(Versioning.TestCase)
TestIgnoring = pytest.mark.slow(Ignoring.TestCase)
TestRefusing = pytest.mark.slow(Refusing.TestCase)
TestReplacing.settings = TestVersioning.settings = TestIgnoring.settings = TestRefusing.settings = FEW
