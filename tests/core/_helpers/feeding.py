"""What processes do that complete groups and that take the feed, for `test_feed_order`."""

import json
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import event

from carbonation_core.api import Database
from carbonation_core.db import feed, groups
from carbonation_core.db.engine import repeatable, writing
from carbonation_core.db.locks import lock_watch
from carbonation_core.lifecycle import FeedEvent
from carbonation_core.project import Project
from tests.site import open_site

AT_ONCE = 5  # groups in one transaction, at most


def write(directory: Path, number: int, count: int, hours: float) -> None:
    """Complete so many groups, with pauses before statements and commits, by a clock that is wrong."""
    site = open_site(directory)
    rng = random.Random(number)

    def pause(*_: object) -> None:
        if rng.random() < 0.1:
            time.sleep(rng.uniform(0, 0.003))

    event.listen(site.project.engine, "before_cursor_execute", pause)
    event.listen(site.project.engine, "commit", pause)
    keys = [f"{number}-{one}" for one in range(count)]
    while keys:
        size = rng.randint(1, AT_ONCE)
        # Two writers share a watch, so that both locks are waited for.
        _complete(site.project, f"watch-{number // 2}", keys[:size], timedelta(hours=hours))
        keys = keys[size:]
    site.project.engine.dispose()


@repeatable
def _complete(project: Project, watch_name: str, keys: list[str], wrong_by: timedelta) -> None:
    now = datetime.now(UTC) + wrong_by
    with writing(project.engine) as connection:
        lock_watch(connection, watch_name)
        rows = groups.ensure(connection, watch_name, None, keys, now)
        done = [{"id": row.id, "complete": True, "completed_at": now} for row in rows.values()]
        groups.store(connection, done, now)
        feed.announce(connection, [(row, FeedEvent.COMPLETED) for row in rows.values()], now)


def read(directory: Path, count: int, file: Path) -> None:
    """Poll until there are so many entries, and write them to the file."""
    site = open_site(directory)
    database = Database(site.project)
    rng = random.Random(str(file))
    cursor, taken = None, []
    while len(taken) < count:
        rows, cursor = database.get_new_files(cursor, limit=rng.randint(1, 500))
        taken += [[row["sequence"], row["group_key"]] for row in rows]
        if not rows:
            time.sleep(rng.uniform(0, 0.02))
    file.write_text(json.dumps(taken), encoding="utf-8")
    database.close()
