"""Every wrong config.toml gets one sentence that names file, table, key and what would be right."""

from pathlib import Path

import pytest

from carbonation_core.config import load_config
from carbonation_core.errors import ConfigError

WATCH = '[[watch]]\nname = "incoming"\npath = "incoming"\nrules = "default"\n'
ARCHIVE = '[[archive]]\nname = "main"\ndestination = "archive/{category}"\n'
GOOD = WATCH + ARCHIVE


def archive(lines: str) -> str:
    return f'[[archive]]\nname = "main"\n{lines}'


FAULTS = [
    (
        "text that is not TOML",
        WATCH + "poll_interval =\n",
        "is not valid TOML: Invalid value (at line 5, column 16)",
    ),
    (
        "a key given twice",
        WATCH + 'name = "again"\n',
        "is not valid TOML: Cannot overwrite a value (at line 5, column 15)",
    ),
    ("no watch", ARCHIVE, "[[watch]]: there is no watch; there should be at least one"),
    (
        "an unknown table names the nearest",
        f"[servce]\nworkers = 4\n{GOOD}",
        'there is no key or table "servce"; did you mean "service"?',
    ),
    (
        "an unknown array of tables names the nearest",
        GOOD + '[[watches]]\nname = "b"\n',
        'there is no key or table "watches"; did you mean "watch"?',
    ),
    (
        "a key outside every table",
        f"pol = 4\n{GOOD}",
        (
            'there is no key or table "pol"; known: "archive", "database", "logging", "notify", "plugins", '
            '"rules", "service", "watch"'
        ),
    ),
    (
        "one watch in single brackets",
        WATCH.replace("[[watch]]", "[watch]") + ARCHIVE,
        "[[watch]]: there can be several, so the heading should be [[watch]], not [watch]",
    ),
    (
        "a string in place of watches",
        f'watch = "incoming"\n{ARCHIVE}',
        '[[watch]]: should be tables under the heading [[watch]], not "incoming"',
    ),
    (
        "numbers in place of watches",
        f"watch = [1]\n{ARCHIVE}",
        "[[watch]] number 1: should be a table, not 1",
    ),
    (
        "a section in double brackets",
        f"[[service]]\nworkers = 4\n{GOOD}",
        "[service]: there is only one, so the heading should be [service], not [[service]]",
    ),
    (
        "a string in place of a section",
        f'service = "fast"\n{GOOD}',
        '[service]: should be a table, not "fast"',
    ),
    (
        "a table in place of a value",
        f"[service.workers]\nmany = true\n{GOOD}",
        '[service]: key "workers": should be a whole number, not {"many": true}',
    ),
    (
        "an unknown key names the nearest",
        f'[service]\npol_interval = "5s"\n{GOOD}',
        '[service]: there is no key "pol_interval"; did you mean "poll_interval"?',
    ),
    (
        "an unknown key without a near one lists all",
        f'[rules]\nwhere = "x"\n{GOOD}',
        '[rules]: there is no key "where"; known: "file"',
    ),
    (
        "an owner that Dagster would not take",
        WATCH + 'owners = ["ops@example.org", "archive"]\n' + ARCHIVE,
        '[[watch]] "incoming": key "owners" number 2: should be an e-mail address or a team such as '
        '"team:archive", not "archive"',
    ),
    (
        "a tag that Dagster would not take",
        GOOD + 'tags = { "a b" = "c" }\n',
        '[[archive]] "main": key "tags": "a b" is no name of a tag: up to 63 letters, digits, "_", "-" '
        'and ".", perhaps after a namespace and "/"',
    ),
    (
        "a tag in Dagster's own namespace",
        GOOD + 'tags = { "dagster/kind" = "c" }\n',
        '[[archive]] "main": key "tags": "dagster/kind" is in a namespace that Dagster keeps for itself',
    ),
    (
        "a tag's value that Dagster would not take",
        GOOD + 'tags = { site = "a b" }\n',
        '[[archive]] "main": key "tags": "a b" is no value of tag "site": up to 63 letters, digits, "_", '
        '"-" and "."',
    ),
    (
        "an address without a scheme",
        GOOD + 'url = "files.example.org"\n',
        '[[archive]] "main": key "url": is no address of the form "https://host/path"',
    ),
    (
        "a webhook is never repeated",
        "[notify]\nwebhook = 7\n" + GOOD,
        '[notify]: key "webhook": should be a string',
    ),
    (
        "a token that no header can hold",
        '[notify]\ntoken = "a\\nb"\n' + GOOD,
        '[notify]: key "token": should be of printable ASCII characters',
    ),
    (
        "a hook that takes longer than a tick may",
        '[notify]\ntimeout = "1m"\n' + GOOD,
        '[notify]: key "timeout": should be at most 40 seconds, not "1m"',
    ),
    (
        "a command as text",
        '[notify]\ncommand = "page"\n' + GOOD,
        '[notify]: key "command": should be an array, such as ["page"]',
    ),
    (
        "a duration that is a number",
        f"[service]\npoll_interval = 5\n{GOOD}",
        ('[service]: key "poll_interval": should be a duration such as "30s", "5m", "2h" or "7d", not 5'),
    ),
    (
        "a duration of zero",
        f'[service]\npoll_interval = "0s"\n{GOOD}',
        '[service]: key "poll_interval": should be more than 0 and at most 365 days, not "0s"',
    ),
    (
        "a negative duration",
        f'[service]\nretry_delay = "-5m"\n{GOOD}',
        ('[service]: key "retry_delay": should be a duration such as "30s", "5m", "2h" or "7d", not "-5m"'),
    ),
    (
        "a duration without unit",
        f'[service]\nretry_delay = "30"\n{GOOD}',
        ('[service]: key "retry_delay": should be a duration such as "30s", "5m", "2h" or "7d", not "30"'),
    ),
    (
        "a duration in weeks",
        f'[service]\nmax_runtime = "2w"\n{GOOD}',
        ('[service]: key "max_runtime": should be a duration such as "30s", "5m", "2h" or "7d", not "2w"'),
    ),
    (
        "a duration of more than a year",
        f'[service]\nhistory_retention = "366d"\n{GOOD}',
        ('[service]: key "history_retention": should be more than 0 and at most 365 days, not "366d"'),
    ),
    (
        "a duration beyond every number",
        f'[service]\nrun_retention = "{"9" * 400}d"\n{GOOD}',
        (
            '[service]: key "run_retention": should be more than 0 and at most 365 days, not '
            '"9999999999999999999999999999999999999999999999999999999999999999999999999999...'
        ),
    ),
    (
        "no workers",
        f"[service]\nworkers = 0\n{GOOD}",
        '[service]: key "workers": should be at least 1, not 0',
    ),
    (
        "a part of a worker",
        f"[service]\nworkers = 1.5\n{GOOD}",
        '[service]: key "workers": should be a whole number, not 1.5',
    ),
    (
        "workers as text",
        f'[service]\nworkers = "4"\n{GOOD}',
        '[service]: key "workers": should be a whole number, not "4"',
    ),
    (
        "negative retries",
        f"[service]\nmax_retries = -1\n{GOOD}",
        '[service]: key "max_retries": should be at least 0, not -1',
    ),
    (
        "a backoff that shrinks",
        f"[service]\nretry_backoff = 0.5\n{GOOD}",
        '[service]: key "retry_backoff": should be at least 1, not 0.5',
    ),
    (
        "a backoff that is no number",
        f"[service]\nretry_backoff = true\n{GOOD}",
        '[service]: key "retry_backoff": should be a number, not true',
    ),
    (
        "an endless backoff",
        f"[service]\nretry_backoff = inf\n{GOOD}",
        '[service]: key "retry_backoff": should be a finite number, not inf',
    ),
    (
        "a loss that is no share",
        f"[service]\nmax_loss = 0.1\n{GOOD}",
        '[service]: key "max_loss": should be a share such as "10%", at most "100%", not 0.1',
    ),
    (
        "a loss of more than everything",
        f'[service]\nmax_loss = "110%"\n{GOOD}',
        ('[service]: key "max_loss": should be a share such as "10%", at most "100%", not "110%"'),
    ),
    (
        "an unknown level",
        f'[logging]\nlevel = "LOUD"\n{GOOD}',
        (
            '[logging]: key "level": should be "TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", '
            '"ERROR" or "CRITICAL", not "LOUD"'
        ),
    ),
    (
        "an unknown log format",
        f'[logging]\nformat = "xml"\n{GOOD}',
        '[logging]: key "format": should be "text" or "json", not "xml"',
    ),
    (
        "a rotation that is neither size nor period",
        f'[logging]\nrotation = "often"\n{GOOD}',
        (
            '[logging]: key "rotation": should be a size such as "10 MB" or a period such as "1 '
            'day", not "often"'
        ),
    ),
    (
        "a retention that is no period",
        f'[logging]\nretention = "long"\n{GOOD}',
        (
            '[logging]: key "retention": should be a period such as "30 days" or a count such as '
            '"10 files", not "long"'
        ),
    ),
    (
        "a log file without a name",
        f'[logging]\nfile = ""\n{GOOD}',
        '[logging]: key "file": should be the path of a file, not ""',
    ),
    (
        "an unknown driver",
        f'[database]\ndrivername = "oracle"\n{GOOD}',
        (
            '[database]: key "drivername": should be "sqlite", "postgresql", '
            '"postgresql+psycopg2", "mysql", "mysql+mysqldb", "mysql+pymysql", "mariadb", '
            '"mariadb+mysqldb" or "mariadb+pymysql", not "oracle"'
        ),
    ),
    (
        "a port as text",
        f'[database]\nport = "5432"\n{GOOD}',
        '[database]: key "port": should be a whole number, not "5432"',
    ),
    (
        "a port beyond the last",
        f"[database]\nport = 70000\n{GOOD}",
        '[database]: key "port": should be at most 65535, not 70000',
    ),
    (
        "a password that is a number stays secret",
        f"[database]\npassword = 12345\n{GOOD}",
        '[database]: key "password": should be a string',
    ),
    (
        "a database without a name",
        f'[database]\nname = ""\n{GOOD}',
        '[database]: key "name": should not be empty',
    ),
    (
        "a database in memory",
        f'[database]\nname = ":memory:"\n{GOOD}',
        ('[database]: key "name": ":memory:" would be another database in each process; name a file'),
    ),
    (
        "database is not a table",
        f'database = "sqlite"\n{GOOD}',
        '[database]: should be a table, not "sqlite"',
    ),
    (
        "a plugin without a name",
        f'[plugins]\npackage = ""\n{GOOD}',
        '[plugins]: key "package": should not be empty',
    ),
    (
        "several rules files",
        f'[rules]\nfile = ["a.toml", "b.toml"]\n{GOOD}',
        '[rules]: key "file": should be the path of a file, not ["a.toml", "b.toml"]',
    ),
    (
        "a watch without a name",
        '[[watch]]\npath = "in"\nrules = "default"\n' + ARCHIVE,
        '[[watch]] number 1: key "name": is required (unique; letters, digits, `_`, `-`, `.`)',
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
            '"expect_every", "ignore_patterns", "name", "observer", "owners", "path", "patterns", '
            '"recursive", "redelivery", "rules", "settle_seconds", "symlinks", "tags", "type", "url"'
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
        ('[[archive]] "main": key "dir_mode": "640" is none of 0o700, 0o750, 0o755, 0o770, 0o777'),
    ),
    (
        "a mode that is true",
        GOOD + "dir_mode = true\n",
        ('[[archive]] "main": key "dir_mode": true is none of 0o700, 0o750, 0o755, 0o770, 0o777'),
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


@pytest.mark.parametrize(("text", "fault"), [pytest.param(*case, id=name) for name, *case in FAULTS])
def test_a_wrong_config_gets_one_sentence(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    assert list(raised.value.faults) == [f"{file}: {fault}".replace("{here}", str(tmp_path))]


def test_several_faults_are_a_line_each(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        f'[service]\nworkers = 0\npol_interval = "5s"\nmax_retries = "3"\n{WATCH}symlinks = true\n{ARCHIVE}'
    )
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    assert str(raised.value).splitlines() == [
        f'{file}: [service]: key "workers": should be at least 1, not 0',
        f'{file}: [service]: key "max_retries": should be a whole number, not "3"',
        f'{file}: [service]: there is no key "pol_interval"; did you mean "poll_interval"?',
        f'{file}: [[watch]] "incoming": key "symlinks": should be "refuse" or "follow_inside", not true',
    ]


def test_several_faults_between_tables_are_a_line_each(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'{WATCH}archive = "tape"\n{WATCH}{ARCHIVE}')
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    assert str(raised.value).splitlines() == [
        f'{file}: [[watch]] "incoming": key "name": another watch has that name',
        f'{file}: [[watch]] "incoming": key "archive": there is no archive "tape"; known: "main"',
    ]


def _fault_of_file(file: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    return str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    assert _fault_of_file(file) == f"{file}: there is no such file"


def test_a_directory_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    assert _fault_of_file(tmp_path) == f"{tmp_path}: is a directory, not a file"


def test_a_file_used_as_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = tmp_path / "file" / "config.toml"
    assert _fault_of_file(file) == f"{file}: cannot be read: Not a directory"


def test_a_file_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"# caf\xe9\n")
    assert _fault_of_file(file) == f"{file}: is not UTF-8 text, see byte 6"
