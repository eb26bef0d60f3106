"""Whether this service is the head of its site, asked again and again by a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from carbonation_core import head
from carbonation_core.db.service import STANDBY
from carbonation_core.errors import DatabaseError
from carbonation_core.process import host_name, this_process
from carbonation_core.project import Project
from carbonation_core.reports import heartbeat
from carbonation_core.text import shown

log = logging.getLogger(__name__)

WAITING_PACE, PACE = 2.0, 5.0  # seconds between two questions of one that waits, and of the head
TO_STOP = 17.0  # seconds before the lease ends, in which all that the head has started comes to its end
LAST_WORD = 2.0  # seconds that it may take to let go


class Head:
    """The lease of the head, which is kept while the context lasts, or waited for.

    A head that the database does not hear for a while is none any more: it has to
    end its parts before the lease ends, as another may begin then.
    """

    def __init__(self, project: Project, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._project, self._monotonic = project, monotonic
        self._me = this_process("service")
        self._is_needed = head.has_lease(project)
        self._until = float("-inf")
        self._obstacle: str | None = None
        self._word_due = float("-inf")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="head", daemon=True)

    @property
    def is_ours(self) -> bool:
        """Whether this service is to work."""
        return not self._is_needed or self._monotonic() < self._until - TO_STOP

    @property
    def obstacle(self) -> str | None:
        """Why it is not, as far as that is known."""
        return self._obstacle

    def follow(self, project: Project) -> None:
        """Be the head of that one's site from now on."""
        self._project = project

    def ask(self) -> None:
        """Ask for another term."""
        asked, project = self._monotonic(), self._project
        try:
            held = head.hold(project, self._me)
        except DatabaseError as error:
            self._obstacle = str(error)
            return
        if held.holder == self._me:
            self._until, self._obstacle = asked + head.LEASE.total_seconds(), None
            self._wait_no_more()
            return
        self._say_waiting()
        self._until = float("-inf")
        site = project.config.service.site_name
        self._obstacle = f"host {held.host} is the head of site {site} since {shown(held.since)}"
        if held.host == host_name():
            self._obstacle += "; a service with watches of its own needs a [service] site of its own"

    def __enter__(self) -> Self:
        if self._is_needed:
            self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._done.set()
        if self._is_needed:
            self._thread.join(LAST_WORD)

    def _keep(self) -> None:
        while not self._done.is_set():
            try:
                self.ask()
            except Exception:  # the next time it may be answered; if it is not, the lease ends
                log.exception("whether this service is the head of its site could not be asked")
            self._done.wait(PACE if self.is_ours else WAITING_PACE)
        try:
            self._wait_no_more()
            head.let_go(self._project, self._me)
        except DatabaseError as error:
            log.warning("another host has to wait until the lease of this one ends: %s", error)

    def _say_waiting(self) -> None:
        """Have `carbonation status` show that this host stands by."""
        now, interval = self._monotonic(), self._project.config.service.heartbeat_interval
        if now >= self._word_due:
            with suppress(DatabaseError):  # the next one will be heard
                heartbeat.beat(self._project, STANDBY)
            self._word_due = now + interval.total_seconds()

    def _wait_no_more(self) -> None:
        if self._word_due > float("-inf"):
            self._word_due = float("-inf")
            with suppress(DatabaseError):
                heartbeat.forget(self._project, STANDBY)
