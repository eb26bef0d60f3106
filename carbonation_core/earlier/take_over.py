"""Copies what a database of carbonation 0.0.x says into this one, a page at a time.

It may be broken off and repeated: what is there is left as it is, and what is not
comes now. The earlier database is only read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from carbonation_core.config.sections import Watch
from carbonation_core.db import earlier_tables, imports, tables
from carbonation_core.db.earlier_tables import EarlierFile, EarlierGroup
from carbonation_core.db.engine import Engine, chunks, reading, repeatable, writing
from carbonation_core.db.locks import lock_watch
from carbonation_core.disk.walk import Pool, pool
from carbonation_core.earlier.becomes import (
    FileLeft,
    FileTaken,
    GroupTaken,
    alone_becomes,
    file_becomes,
    group_becomes,
    losers,
)
from carbonation_core.earlier.places import Located, Places
from carbonation_core.earlier.writing import Page, Written, compared, write
from carbonation_core.errors import AttemptFailed
from carbonation_core.plugin import checked_metadata, own_columns
from carbonation_core.project import Progress, Project, rules_on_disk
from carbonation_core.rules.rule_sets import RuleSet
from carbonation_core.text import counted, listing

GROUPS, FILES, FEED = "groups", "files without a group", "entries of the feed"
REASON = "from the database of carbonation 0.0.x"
ENTRIES = 1000  # of the feed in one transaction


@dataclass
class Imported:
    """What was imported, or would be, and what is not as it was, a sentence each in `notes`.

    `before`: groups and files that were there already; `to_first_look`: files in
    delivery that are judged as if they were new; `renamed`: groups with another key.
    """

    groups: int = 0
    files: int = 0
    feed: int = 0
    before: int = 0
    to_first_look: int = 0
    renamed: int = 0
    notes: list[str] = field(default_factory=list)


def import_earlier(project: Project, config_file: Path, *, dry_run: bool, progress: Progress) -> Imported:
    """Import from the database that the config.toml of the earlier release names.

    Raises `ConfigError` and `DatabaseError`, of either database, and `ScanError`
    where nobody can tell what lies in delivery; what was imported by then stays.
    """
    engine = earlier_tables.open_earlier(config_file)
    try:
        with pool(project.config.service.workers) as threads:
            return _Import(project, engine, threads, dry_run, progress).done()
    finally:
        engine.dispose()


class _Import:
    def __init__(
        self, project: Project, earlier: Engine, threads: Pool, dry_run: bool, progress: Progress
    ) -> None:
        self._project, self._earlier, self._threads = project, earlier, threads
        self._dry_run, self._progress = dry_run, progress
        self._places = Places(project.config)
        self._watches = {watch.name: watch for watch in project.config.watch}
        self._rules = rules_on_disk(project).sets
        self._now = project.clock()
        self._found = Imported()
        self._losers: Mapping[int, str] = {}
        self._nobodys = 0

    def done(self) -> Imported:
        """All of it, in this order, as ids of files without a group come after those that are kept."""
        there = earlier_tables.columns_of_plugin(self._earlier)
        own = {one.key: one.type for one in own_columns(self._project.plugin) if one.key in there}
        if left := there - own.keys():
            self._say(f"columns that no column of the plugin is for are not imported: {listing(left)}")
        self._losers = self._of_shared_paths()
        number, _, highest = earlier_tables.counts(self._earlier)
        if not self._dry_run:
            self._keep_free(highest)
        done = 0
        for page in earlier_tables.groups(self._earlier, own):
            self._take(Page([one for one in map(self._group, *self._located(page)) if one], []))
            done += len(page)
            self._progress(GROUPS, done, number)
        alone = 0
        for files in earlier_tables.files_alone(self._earlier):
            self._take(self._alone(files))
            alone += len(files)
            self._progress(FILES, alone, None)
        if not self._dry_run:
            self._tell()
        self._say_of_watches()
        return self._found

    def _say(self, note: str) -> None:
        self._found.notes.append(note)

    def _say_of_watches(self) -> None:
        unknown = earlier_tables.watch_names(self._earlier) - self._watches.keys()
        if unknown:
            self._say(
                f"watches that are not in config.toml keep what was archived, and nothing looks at them: "
                f"{listing(unknown)}"
            )
        if self._nobodys:
            self._say(
                f"{counted(self._nobodys, 'archived file')} without watch and group: "
                "carbonation reconcile archive --adopt registers what lies in an archive"
            )

    def _of_shared_paths(self) -> Mapping[int, str]:
        shared = earlier_tables.sharing(self._earlier)
        return losers(
            {
                path: [self._places.locate(file, file.watch_name or "") for file in files]
                for path, files in shared.items()
            }
        )

    @repeatable
    def _keep_free(self, highest: int) -> None:
        with writing(self._project.engine) as connection:
            tables.keep_free(connection, "files", "id", highest)

    def _located(
        self, page: Sequence[tuple[EarlierGroup, list[EarlierFile]]]
    ) -> tuple[list[EarlierGroup], list[list[Located]]]:
        """The page's groups, and where their files lie, which several threads look up."""
        asked = [(file, group.watch_name) for group, files in page for file in files]
        answers = self._threads.each(lambda one: self._places.locate(*one), asked)
        return [group for group, _ in page], [[next(answers) for _ in files] for _, files in page]

    def _files(self, watch_name: str, files: Iterable[Located]) -> tuple[list[FileTaken], list[FileLeft]]:
        taken, left = [], []
        for file in files:
            if file.row.watch_name is None and file.row.id in self._losers:
                continue  # the same file once more, as the earlier release found it in the archive
            one = file_becomes(file, self._losers, self._now)
            if isinstance(one, FileTaken):
                taken.append(one)
            else:
                left.append(one)
                self._found.to_first_look += one.to_first_look
                if not one.to_first_look or file.row.id in self._losers:
                    self._say(f"{one.source_path} of watch {watch_name} is not imported: {one.reason}")
        return taken, left

    def _group(self, group: EarlierGroup, files: Sequence[Located]) -> GroupTaken | None:
        watch, rules = self._of(group.watch_name)
        taken, left = self._files(group.watch_name, files)
        found = group_becomes(group, taken, left, watch, rules)
        if found is None:
            return None
        notes = list(found.notes)
        given = {name: value for name, value in found.values.items() if value is not None}
        try:
            values = checked_metadata(self._project.plugin, given, self._project.engine.dialect)
        except AttemptFailed as error:
            values = {}
            notes.append(f"has no values of the plugin's columns: {error}")
        for note in notes:
            self._say(f'group "{found.key}" of watch {found.watch_name} {note}')
        return replace(found, values=values)

    def _of(self, watch_name: str) -> tuple[Watch | None, RuleSet | None]:
        watch = self._watches.get(watch_name)
        return watch, self._rules[watch.rules] if watch else None

    def _alone(self, files: Sequence[EarlierFile]) -> Page:
        page = Page([], [])
        ours = [(file, file.watch_name) for file in files if file.watch_name is not None]
        self._nobodys += sum(file.watch_name is None and file.id not in self._losers for file in files)
        for located in self._threads.each(lambda one: self._places.locate(*one), ours):
            name = str(located.row.watch_name)
            for taken in self._files(name, [located])[0]:
                group = alone_becomes(taken, name, self._watches.get(name))
                if group is not None:
                    page.groups.append(group)
                else:
                    page.alone.append((name, taken))
        return page

    def _take(self, page: Page) -> None:
        done = self._written(page)
        found = self._found
        found.groups += done.groups
        found.files += done.files
        found.before += done.before
        found.renamed += done.renamed
        found.notes += done.notes

    @repeatable
    def _written(self, page: Page) -> Written:
        """What of a page is not there yet, written in one transaction."""
        project = self._project
        if self._dry_run:
            with reading(project.engine) as connection:
                return compared(connection, page).written
        with writing(project.engine) as connection:
            imports.alone(connection)
            for name in page.watch_names:
                lock_watch(connection, name)
            return write(connection, project.plugin.file_model, page, REASON, self._now)

    def _tell(self) -> None:
        with reading(self._project.engine) as connection:
            untold = imports.untold(connection)
        done = 0
        for chunk in chunks(untold, ENTRIES):
            self._found.feed += self._told(chunk)
            done += len(chunk)
            self._progress(FEED, done, len(untold))
        self._retracted()

    @repeatable
    def _told(self, news: Sequence[tuple[int, str, Any]]) -> int:
        with writing(self._project.engine) as connection:
            imports.alone(connection)
            return imports.tell_completed(connection, news)

    @repeatable
    def _retracted(self) -> None:
        with writing(self._project.engine) as connection:
            imports.alone(connection)
            imports.tell_retracted(connection, self._now)
