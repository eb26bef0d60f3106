"""Every wrong [[watch]] gets one sentence that names file, watch, key and what would be right."""

from pathlib import Path

from tests.core._helpers.faulty import ARCHIVE, WATCH, of, require_fault_of_config

FAULTS = [
    (
        "a watch without a name",
        '[[watch]]\npath = "in"\nrules = "default"\n' + ARCHIVE,
        (
            '[[watch]] number 1: key "name": is required (unique; letters, digits, `_`, `-`, `.`;'
            " not `archive` or `report`)"
        ),
    ),
    (
        "a watch without a path",
        '[[watch]]\nname = "incoming"\nrules = "default"\n' + ARCHIVE,
        '[[watch]] "incoming": key "path": is required (the directory that is watched)',
    ),
    (
        "a watch without rules",
        '[[watch]]\nname = "incoming"\npath = "in"\n' + ARCHIVE,
        ('[[watch]] "incoming": key "rules": is required (the rule set of rules.toml that holds here)'),
    ),
    (
        "a watch name with a space",
        WATCH.replace('"incoming"', '"in coming"', 1) + ARCHIVE,
        (
            '[[watch]] "in coming": key "name": should be of letters, digits, "_", "-" and "." '
            'only, not "in coming"'
        ),
    ),
    (
        "a watch name of 256 letters",
        WATCH.replace('"incoming"', f'"{"n" * 256}"', 1) + ARCHIVE,
        (
            "[[watch]] "
            '"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...: '
            'key "name": should have at most 200 characters, not '
            '"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...'
        ),
    ),
    (
        "a watch path that is a number",
        WATCH.replace('path = "incoming"', "path = 7") + ARCHIVE,
        '[[watch]] "incoming": key "path": should be the path of a directory, not 7',
    ),
    (
        "a watch path in nobody's home",
        WATCH.replace('path = "incoming"', 'path = "~nobody-of-that-name/in"') + ARCHIVE,
        '[[watch]] "incoming": key "path": there is no home directory "~nobody-of-that-name"',
    ),
    (
        "recursive as text",
        WATCH + 'recursive = "yes"\n' + ARCHIVE,
        '[[watch]] "incoming": key "recursive": should be true or false, not "yes"',
    ),
    (
        "patterns as text",
        WATCH + 'patterns = "*.dat"\n' + ARCHIVE,
        '[[watch]] "incoming": key "patterns": should be an array, such as ["*.dat"]',
    ),
    (
        "a pattern that is a number",
        WATCH + 'ignore_patterns = ["*.tmp", 5]\n' + ARCHIVE,
        '[[watch]] "incoming": key "ignore_patterns" number 2: should be a string, not 5',
    ),
    (
        "settling in no time",
        WATCH + "settle_seconds = 0\n" + ARCHIVE,
        '[[watch]] "incoming": key "settle_seconds": should be more than 0, not 0',
    ),
    (
        "settling never",
        WATCH + "settle_seconds = inf\n" + ARCHIVE,
        '[[watch]] "incoming": key "settle_seconds": should be a finite number, not inf',
    ),
    (
        "settling as a duration",
        WATCH + 'settle_seconds = "2s"\n' + ARCHIVE,
        '[[watch]] "incoming": key "settle_seconds": should be a number, not "2s"',
    ),
    (
        "an unknown way with symlinks",
        WATCH + 'symlinks = "follow"\n' + ARCHIVE,
        ('[[watch]] "incoming": key "symlinks": should be "refuse" or "follow_inside", not "follow"'),
    ),
    (
        "an unknown redelivery",
        WATCH + 'redelivery = "overwrite"\n' + ARCHIVE,
        (
            '[[watch]] "incoming": key "redelivery": should be "replace", "version", "ignore" or '
            '"error", not "overwrite"'
        ),
    ),
    (
        "an unknown observer",
        WATCH + 'observer = "inotify"\n' + ARCHIVE,
        ('[[watch]] "incoming": key "observer": should be "auto", "native" or "polling", not "inotify"'),
    ),
    (
        "a key of an archive in a watch",
        WATCH + 'action = "move"\n' + ARCHIVE,
        (
            '[[watch]] "incoming": there is no key "action"; known: "archive", '
            '"expect", "expect_every", "hosts", "ignore_patterns", "name", "observer", "owners", "path", '
            '"patterns", "recursive", "redelivery", "rules", "settle_seconds", "symlinks", "tags", "type", '
            '"url"'
        ),
    ),
    (
        "an unknown archive names the known ones",
        WATCH + 'archive = "mian"\n' + ARCHIVE,
        '[[watch]] "incoming": key "archive": there is no archive "mian"; known: "main"',
    ),
    (
        "two watches of one name",
        WATCH + WATCH.replace('path = "incoming"', 'path = "other"') + ARCHIVE,
        '[[watch]] "incoming": key "name": another watch has that name',
    ),
    (
        "two watches that Dagster cannot tell apart",
        WATCH.replace('"incoming"', '"a-b"', 1) + WATCH.replace('"incoming"', '"a_b"', 1) + ARCHIVE,
        (
            '[[watch]] "a_b": key "name": is the same as watch "a-b" in Dagster, where "-" and '
            '"." become "_"; rename one'
        ),
    ),
    (
        "a watch inside an archive",
        WATCH.replace('path = "incoming"', 'path = "archive/in"') + ARCHIVE,
        (
            '[[watch]] "incoming": key "path": "{here}/archive/in" lies inside archive "main" '
            '("{here}/archive"); what is archived would be delivered again'
        ),
    ),
    (
        "a watch that is an archive",
        WATCH.replace('path = "incoming"', 'path = "archive"') + ARCHIVE,
        (
            '[[watch]] "incoming": key "path": "{here}/archive" lies inside archive "main" '
            '("{here}/archive"); what is archived would be delivered again'
        ),
    ),
    (
        "an archive inside a recursive watch",
        WATCH.replace('path = "incoming"', 'path = "."') + "recursive = true\n" + ARCHIVE,
        (
            '[[watch]] "incoming": key "path": archive "main" ("{here}/archive") lies inside '
            "this recursive watch; what is archived would be delivered again"
        ),
    ),
]


@of(FAULTS)
def test_a_wrong_watch_gets_one_sentence(tmp_path: Path, text: str, fault: str) -> None:
    require_fault_of_config(tmp_path, text, fault)
