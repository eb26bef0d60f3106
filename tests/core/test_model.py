"""Random events on a real directory, and what a simple model says that each file's status must be.

`SOAK=2000 pytest tests/core/test_model.py` tries that many examples instead of a
few that are always the same.
"""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from carbonation_core.delivery.retry import retry
from carbonation_core.lifecycle import RETRIABLE, FileStatus
from carbonation_core.reconcile.archive import reconcile_archive
from tests.core._helpers.watch_model import Delivery, WatchModel
from tests.core.test_properties import FEW, ON_TIMEOUT, rules_text
from tests.site import make_site

NAMES = st.sampled_from(["a.dat", "a.json", "a.txt", "b.dat", "b.json"])
CONTENT = st.sampled_from([b"one", b"two", b"test", b"broken", b""])
EXTRACTION = st.sampled_from(["none", "selecting", "breaking"])


class Watching(RuleBasedStateMachine):
    """A watch and its model, to which the same things happen."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))

    @initialize(extraction=EXTRACTION, on_timeout=ON_TIMEOUT)
    def begin(self, extraction: str, on_timeout: str) -> None:
        self.site = make_site(
            self.directory,
            rules_text(extraction, on_timeout),
            service={"max_retries": "0", "single_group_runs": "1"},
        )
        self.model = WatchModel(extraction, on_timeout)
        # An archive with nothing in it any more is taken for one that is not mounted.
        self.site.archive.mkdir()
        (self.site.archive / "kept").touch()

    def teardown(self) -> None:
        if hasattr(self, "site"):
            try:
                self.come_to_rest()
            finally:
                self.site.project.engine.dispose()
                shutil.rmtree(self.directory)

    # What happens outside.

    @rule(name=NAMES, content=CONTENT)
    def deliver(self, name: str, content: bytes) -> None:
        path = self.site.incoming / name
        upload = path.with_name(".upload")
        upload.write_bytes(content)
        upload.rename(path)
        self.model.delivery[name] = Delivery(content)

    @rule(stem=st.sampled_from(["a", "b"]), content=CONTENT)
    def deliver_a_pair(self, stem: str, content: bytes) -> None:
        for ending in (".dat", ".json"):
            self.deliver(stem + ending, content)

    @rule(name=NAMES, to=NAMES)
    def rename(self, name: str, to: str) -> None:
        if name != to and name in self.model.delivery:
            (self.site.incoming / name).rename(self.site.incoming / to)
            self.model.delivery[to] = Delivery(self.model.delivery.pop(name).content)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        (self.site.incoming / name).unlink(missing_ok=True)
        self.model.delivery.pop(name, None)

    @rule(name=NAMES)
    def lose(self, name: str) -> None:
        if name in self.model.files and self.model.files[name].archived is not None:
            (self.site.archive / name).unlink()
            reconcile_archive(self.site.project, "main")
            self.model.lose(name)

    @rule(extraction=EXTRACTION, on_timeout=ON_TIMEOUT)
    def change_rules(self, extraction: str, on_timeout: str) -> None:
        self.model.extraction, self.model.on_timeout = extraction, on_timeout
        self.site.set_rules(rules_text(extraction, on_timeout))

    @rule(status=st.sampled_from(RETRIABLE))
    def retry(self, status: FileStatus) -> None:
        retry(self.site.project, status=status)
        self.model.retry(status)

    # What the service does.

    @rule(seconds=st.sampled_from([0, 1, 2, 3]))
    def look(self, seconds: int) -> None:
        self.model.now += seconds
        self.site.tick(seconds)
        self.model.look()

    @rule()
    def work(self) -> None:
        self.look(0)
        self.site.run_all()
        self.model.work()

    @rule()
    def let_it_time_out(self) -> None:
        self.look(700)

    def come_to_rest(self) -> None:
        """Look and work until time alone changes nothing any more."""
        for seconds in (0, 3, 700, 3):
            self.look(seconds)
            self.work()
            self.statuses_are_those_of_the_model()
        assert "detected" not in self.site.statuses().values()
        assert not any(map(self.model.is_due, self.model.groups))

    @precondition(lambda self: hasattr(self, "site"))
    @invariant()
    def statuses_are_those_of_the_model(self) -> None:
        assert self.site.statuses() == self.model.statuses()
        archived = {name: f.archived for name, f in self.model.files.items() if f.archived is not None}
        assert self.site.archived() == {**archived, "kept": b""}


TestWatching = pytest.mark.slow(Watching.TestCase)
TestWatching.settings = FEW
