"""Every wrong config.toml gets one sentence that names file, table, key and what would be right."""

from pathlib import Path

from tests.core._helpers.faulty import (
    ARCHIVE,
    GOOD,
    WATCH,
    faults_of_config,
    of,
    require_fault_of_config,
    written,
)

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
            'there is no key or table "pol"; known: "archive", "database", "logging", "metrics", "notify", '
            '"plugins", "rules", "service", "watch"'
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
        "an address with a port that is none",
        GOOD + 'url = "https://files.example.org:99999/"\n',
        '[[archive]] "main": key "url": is no address of the form "https://host/path"',
    ),
    (
        "a webhook is never repeated",
        "[notify]\nwebhook = 7\n" + GOOD,
        '[notify]: key "webhook": should be a string',
    ),
    (
        "an address for a table that holds a password is never repeated",
        'database = "postgresql://user:secret@host/db"\n' + GOOD,
        "[database]: should be a table",
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
        "service is not a table",
        f'service = "fast"\n{GOOD}',
        '[service]: should be a table, not "fast"',
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
]


@of(FAULTS)
def test_a_wrong_config_gets_one_sentence(tmp_path: Path, text: str, fault: str) -> None:
    require_fault_of_config(tmp_path, text, fault)


def test_several_faults_are_a_line_each(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        f'[service]\nworkers = 0\npol_interval = "5s"\nmax_retries = "3"\n{WATCH}symlinks = true\n{ARCHIVE}',
    )
    assert faults_of_config(file) == [
        f'{file}: [service]: key "workers": should be at least 1, not 0',
        f'{file}: [service]: key "max_retries": should be a whole number, not "3"',
        f'{file}: [service]: there is no key "pol_interval"; did you mean "poll_interval"?',
        f'{file}: [[watch]] "incoming": key "symlinks": should be "refuse" or "follow_inside", not true',
    ]


def test_several_faults_between_tables_are_a_line_each(tmp_path: Path) -> None:
    file = written(tmp_path, f'{WATCH}archive = "tape"\n{WATCH}{ARCHIVE}')
    assert faults_of_config(file) == [
        f'{file}: [[watch]] "incoming": key "name": another watch has that name',
        f'{file}: [[watch]] "incoming": key "archive": there is no archive "tape"; known: "main"',
    ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    assert faults_of_config(file) == [f"{file}: there is no such file"]


def test_a_directory_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    assert faults_of_config(tmp_path) == [f"{tmp_path}: is a directory, not a file"]


def test_a_file_used_as_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = tmp_path / "file" / "config.toml"
    assert faults_of_config(file) == [f"{file}: cannot be read: Not a directory"]


def test_a_file_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"# caf\xe9\n")
    assert faults_of_config(file) == [f"{file}: is not UTF-8 text, see byte 6"]
