"""Every wrong [[archive]] gets one sentence that names file, archive, key and what would be right."""

from pathlib import Path

from tests.core._helpers.faulty import ARCHIVE, GOOD, WATCH, of, require_fault_of_config


def archive(lines: str) -> str:
    return f'[[archive]]\nname = "main"\n{lines}'


FAULTS = [
    (
        "an archive without a destination",
        WATCH + archive(""),
        (
            '[[archive]] "main": key "destination": is required (directory, as a template over '
            "the metadata; a relative one lies under `base_path`)"
        ),
    ),
    (
        "two archives that Dagster cannot tell apart",
        GOOD + ARCHIVE.replace("main", "ma.in") + ARCHIVE.replace("main", "ma-in"),
        (
            '[[archive]] "ma-in": key "name": is the same as archive "ma.in" in Dagster, where '
            '"-" and "." become "_"; rename one'
        ),
    ),
    (
        "two archives of one name",
        GOOD + ARCHIVE,
        '[[archive]] "main": key "name": another archive has that name',
    ),
    (
        "an archive in single brackets",
        WATCH + ARCHIVE.replace("[[archive]]", "[archive]"),
        ("[[archive]]: there can be several, so the heading should be [[archive]], not [archive]"),
    ),
    (
        "a destination without a directory",
        WATCH + archive('destination = ""\n'),
        (
            '[[archive]] "main": key "destination": should be a directory, such as '
            '"{category}/{start:%Y/%m/%d}", not ""'
        ),
    ),
    (
        "a placeholder that reaches into a value",
        WATCH + archive('destination = "archive/{start.year}"\n'),
        (
            '[[archive]] "main": key "destination": placeholder "{start.year}" should be the '
            "plain name of a metadata key; parts of a date go into its format, such as "
            '"{start:%Y/%m/%d}"'
        ),
    ),
    (
        "a placeholder with an index",
        WATCH + archive('destination = "archive/{tags[0]}"\n'),
        (
            '[[archive]] "main": key "destination": placeholder "{tags[0]}" should be the plain '
            "name of a metadata key; parts of a date go into its format, such as "
            '"{start:%Y/%m/%d}"'
        ),
    ),
    (
        "a placeholder by position",
        WATCH + archive('destination = "archive/{}"\n'),
        (
            '[[archive]] "main": key "destination": placeholder "{}" should be the plain name of '
            'a metadata key; parts of a date go into its format, such as "{start:%Y/%m/%d}"'
        ),
    ),
    (
        "a placeholder within a placeholder",
        WATCH + archive('destination = "archive/{start:{form}}"\n'),
        (
            '[[archive]] "main": key "destination": placeholder "{start:{form}}" has another '
            "placeholder in its format"
        ),
    ),
    (
        "an unknown conversion",
        WATCH + archive('destination = "archive/{category!x}"\n'),
        (
            '[[archive]] "main": key "destination": placeholder "{category!x}" has an unknown '
            "conversion; known: r, s, a"
        ),
    ),
    (
        "a brace that is never closed",
        WATCH + archive('destination = "archive/{category"\n'),
        (
            '[[archive]] "main": key "destination": "archive/{category" is not a valid template: '
            "expected '}' before end of string; a brace that is meant as such is written twice"
        ),
    ),
    (
        "a brace that was never opened",
        WATCH + archive('destination = "archive/category}"\n'),
        (
            '[[archive]] "main": key "destination": "archive/category}" is not a valid template: '
            "Single '}' encountered in format string; a brace that is meant as such is written "
            "twice"
        ),
    ),
    (
        "a destination that climbs",
        WATCH + archive('destination = "archive/{category}/../{name}"\n'),
        (
            '[[archive]] "main": key "destination": "archive/{category}/../{name}" has ".." '
            "after a placeholder, where it is never allowed"
        ),
    ),
    (
        "a destination outside its base",
        WATCH + archive('destination = "/elsewhere/{category}"\nbase_path = "archive"\n'),
        (
            '[[archive]] "main": key "destination": "/elsewhere/{category}" lies outside '
            'base_path "{here}/archive"'
        ),
    ),
    (
        "a destination that climbs out of its base",
        WATCH + archive('destination = "../{category}"\nbase_path = "archive"\n'),
        (
            '[[archive]] "main": key "destination": "{here}/{category}" lies outside base_path '
            '"{here}/archive"'
        ),
    ),
    (
        "an unknown action",
        GOOD + 'action = "link"\n',
        ('[[archive]] "main": key "action": should be "copy", "move", "hardlink" or "symlink", not "link"'),
    ),
    (
        "create_directories as a number",
        GOOD + "create_directories = 1\n",
        '[[archive]] "main": key "create_directories": should be true or false, not 1',
    ),
    (
        "a mode written in decimal digits",
        GOOD + "file_mode = 640\n",
        (
            '[[archive]] "main": key "file_mode": 640 (0o1200) is none of 0o600, 0o640, 0o644, '
            "0o660, 0o666, 0o440, 0o444; did you mean 0o640?"
        ),
    ),
    (
        "a mode that runs",
        GOOD + "file_mode = 0o755\n",
        (
            '[[archive]] "main": key "file_mode": 493 (0o755) is none of 0o600, 0o640, 0o644, '
            "0o660, 0o666, 0o440, 0o444"
        ),
    ),
    (
        "a mode as text",
        GOOD + 'file_mode = "rw-r-----"\n',
        (
            '[[archive]] "main": key "file_mode": "rw-r-----" is none of 0o600, 0o640, 0o644, '
            "0o660, 0o666, 0o440, 0o444"
        ),
    ),
    (
        "an octal string that is not allowed",
        GOOD + 'dir_mode = "640"\n',
        (
            '[[archive]] "main": key "dir_mode": "640" is none of 0o700, 0o750, 0o755, 0o770, 0o777, '
            "0o2750, 0o2770, 0o2775"
        ),
    ),
    (
        "a mode that is true",
        GOOD + "dir_mode = true\n",
        (
            '[[archive]] "main": key "dir_mode": true is none of 0o700, 0o750, 0o755, 0o770, 0o777, '
            "0o2750, 0o2770, 0o2775"
        ),
    ),
    (
        "an unknown conflict",
        GOOD + 'on_conflict = "overwrite"\n',
        ('[[archive]] "main": key "on_conflict": should be "error" or "version", not "overwrite"'),
    ),
    (
        "an unknown durability",
        GOOD + 'durability = "always"\n',
        ('[[archive]] "main": key "durability": should be "batch", "file" or "none", not "always"'),
    ),
    (
        "verify as a boolean",
        GOOD + "verify = true\n",
        '[[archive]] "main": key "verify": should be "written" or "read", not true',
    ),
]


@of(FAULTS)
def test_a_wrong_archive_gets_one_sentence(tmp_path: Path, text: str, fault: str) -> None:
    require_fault_of_config(tmp_path, text, fault)
