"""Writes docs/glossary.md from the lifecycle: python -m tests.docs.glossary_page > docs/glossary.md."""

import inspect
import re
from enum import StrEnum

from carbonation_core.lifecycle import TRANSITIONS, ArrivalState, Event, FeedEvent, FileStatus
from tests.docs.pages import table

WORDS = {
    "watch": "a configured directory, with its rule set",
    "site": "one service with its own Dagster, on one host or on several; `[service] site` names it",
    "head": "of several services of one site the one that works; the others stand by",
    "component": "one delivered file (table `file_components`)",
    "group": "components of one watch under one group key (table `files`, one row per group)",
    "group key": "what the components of a group have in common: their stem, fields of their paths, "
    "or what the plugin says",
    "rule set": "a named table of rules.toml",
    "archive": "a configured destination",
    "plugin": "the installed package that gives the typed columns and the callables",
    "settle": "to be unchanged for the quiet time (`settle_seconds`)",
    "redelivery": "a known path delivered again with other bytes",
    "batch": "groups that one run works on together",
    "feed": "what became of complete groups, in the order of commits, for programs that poll",
    "consumer": "a program that takes the feed and acknowledges how far it has come, under a name",
    "retracted": "of a group: it was complete, and files of it are gone from the archive or another group's",
    "late": "of a watch: it brought nothing for longer than its `expect_every`",
    "expected arrival": "a group that a watch expects at a known time (`[[watch.expect]]`, table `arrivals`)",
    "board": "all expected arrivals and how each stands",
    "stale": "of a group: it waits for longer than `stale_threshold`",
    "overdue": "of a group: its rule set's timeout has passed",
    "pass": "one `carbonation run --once`: look, and do all that is ready",
    "reconcile": "to compare what the database says with what lies on disk",
}


def comments(enum: type[StrEnum]) -> dict[str, str]:
    """The sentence beside each value of an enumeration."""
    return dict(re.findall(r'= "(\w+)"  # (.+)', inspect.getsource(enum)))


def page() -> str:
    """The whole page."""
    statuses, events = comments(FileStatus), comments(Event)
    leaving = {
        status: ", ".join(f"`{event}`" for event, (before, _) in TRANSITIONS.items() if status in before)
        for status in FileStatus
    }
    parts = [
        "# Glossary\n",
        "The words of the configuration, the database, the command line and the UI, "
        "which mean the same everywhere.\n",
        table(("word", "meaning"), [(f"**{word}**", meaning) for word, meaning in WORDS.items()]),
        "\n## Statuses\n",
        "Where a component stands. Whether it lies in delivery and in the archive are facts of their own, "
        "`in_delivery` and `in_archive`.\n",
        table(
            ("status", "the component …", "goes on by"),
            [(f"`{status}`", statuses[status], leaving[status]) for status in FileStatus],
        ),
        "\n## Transitions\n",
        "The one table of what may follow what. Nothing else in the service sets a status, and each change "
        "is kept as history with its event and reason.\n",
        table(
            ("event", "it means", "from", "to"),
            [
                (f"`{event}`", events[event], ", ".join(f"`{status}`" for status in before), f"`{after}`")
                for event, (before, after) in TRANSITIONS.items()
            ],
        ),
        "\n## The feed\n",
        "What an entry of the feed tells of its group. A group can have any number of entries.\n",
        table(
            ("event", "the group …"),
            [(f"`{event}`", text) for event, text in comments(FeedEvent).items()],
        ),
        "\n## Expected arrivals\n",
        "Where an expected arrival stands; see [Expected arrivals](arrivals.md).\n",
        table(
            ("state", "it …"),
            [(f"`{state}`", text) for state, text in comments(ArrivalState).items()],
        ),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
