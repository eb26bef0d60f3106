"""Every wrong rules.toml gets one sentence that names file, table, key and what would be right."""

from pathlib import Path

from carbonation_core.config.loading import load_config
from carbonation_core.rules.rule_sets import PluginNames
from tests.core._helpers.faulty import GOOD, faults_of_rules, of, require_fault_of_rules, written

FAULTS = [
    (
        "rules that are not TOML",
        "[default\n",
        ("R: is not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 9)"),
    ),
    (
        "rules without the watch's rule set",
        "[defualt]\n",
        (
            'C: [[watch]] "incoming": key "rules": there is no rule set "default" in '
            '{here}/rules.toml; did you mean "defualt"?'
        ),
    ),
    (
        "a rule set in double brackets",
        "[[default]]\n",
        "R: [default]: there is only one, so the heading should be [default], not [[default]]",
    ),
    (
        "a value outside every rule set",
        'archive = "main"\n[default]\n',
        'R: key "archive": stands above the first heading; it belongs below a rule set\'s',
    ),
    (
        "an unknown key of a rule set",
        '[default]\narchiv = "main"\n',
        'R: [default]: there is no key "archiv"; did you mean "archive"?',
    ),
    (
        "an unknown table of a rule set",
        "[default.completness]\n",
        'R: [default]: there is no key or table "completness"; did you mean "completeness"?',
    ),
    (
        "an archive that is not there",
        '[default]\narchive = "mian"\n',
        ('R: [default]: key "archive": there is no archive "mian" in config.toml; known: "main"'),
    ),
    (
        "completeness in double brackets",
        '[[default.completeness]]\ngroup_by = "stem"\n',
        (
            "R: [default.completeness]: there is only one, so the heading should be "
            "[default.completeness], not [[default.completeness]]"
        ),
    ),
    (
        "an unknown group_by",
        '[default.completeness]\ngroup_by = "name"\n',
        'R: [default.completeness]: key "group_by": should be "stem", "pattern" or "plugin", not "name"',
    ),
    (
        "group_by plugin without a function",
        '[default.completeness]\ngroup_by = "plugin"\n',
        'R: [default.completeness]: group_by = "plugin" needs a "group_function" beside it',
    ),
    (
        "a group function without group_by plugin",
        '[default.completeness]\ngroup_by = "stem"\ngroup_function = "by_day"\n',
        'R: [default.completeness]: "group_function" needs group_by = "plugin" beside it',
    ),
    (
        "a group function the plugin lacks",
        '[default.completeness]\ngroup_by = "plugin"\ngroup_function = "by_hour"\n',
        (
            'R: [default.completeness]: key "group_function": the plugin has no group function '
            '"by_hour"; it has: "by_day"'
        ),
    ),
    (
        "an extension without a dot",
        '[default.completeness]\ngroup_by = "stem"\nexpected_extensions = [".dat", "json"]\n',
        (
            'R: [default.completeness]: key "expected_extensions" number 2: should be an '
            'extension with its dot, such as ".json", not "json"'
        ),
    ),
    (
        "one extension as text",
        '[default.completeness]\ngroup_by = "stem"\nexpected_extensions = ".dat"\n',
        ('R: [default.completeness]: key "expected_extensions": should be an array, such as [".dat"]'),
    ),
    (
        "an extension both expected and optional",
        '[default.completeness]\ngroup_by = "stem"\nexpected_extensions = [".a"]\n'
        'optional_extensions = [".a"]\n',
        ('R: [default.completeness]: an extension is either expected or optional, not both: ".a"'),
    ),
    (
        "a timeout as a duration",
        '[default.completeness]\ngroup_by = "stem"\ntimeout_minutes = "2h"\n',
        'R: [default.completeness]: key "timeout_minutes": should be a number, not "2h"',
    ),
    (
        "a timeout beyond a year",
        '[default.completeness]\ngroup_by = "stem"\ntimeout_minutes = 1e300\n',
        ('R: [default.completeness]: key "timeout_minutes": should be at most 525600, not 1e+300'),
    ),
    (
        "an unknown way at timeout",
        '[default.completeness]\ngroup_by = "stem"\non_timeout = "fail"\n',
        (
            'R: [default.completeness]: key "on_timeout": should be "warn", "skip" or '
            '"archive_partial", not "fail"'
        ),
    ),
    (
        "an extractor the plugin lacks",
        '[default.metadata]\nextract = "hdf"\n',
        ('R: [default.metadata]: key "extract": the plugin has no extractor "hdf"; it has: "csv"'),
    ),
    (
        "metadata without extract",
        "[default.metadata]\n",
        'R: [default.metadata]: key "extract": is required (the plugin\'s extractor)',
    ),
    (
        "a selection without a condition",
        "[[default.selection]]\n",
        ("R: [[default.selection]] number 1: has no condition; without any block all groups are selected"),
    ),
    (
        "a selection function the plugin lacks",
        '[[default.selection]]\ntype = "plugin"\nfunction = "good"\n',
        (
            'R: [[default.selection]] number 1: key "function": the plugin has no selection '
            'function "good"; it has: "recent"'
        ),
    ),
    (
        "a selection function without type",
        '[[default.selection]]\nfunction = "recent"\n',
        (
            'R: [[default.selection]] number 1: type = "plugin" and "function" go together; one '
            "of them is missing"
        ),
    ),
    (
        "a selection with kwargs alone",
        '[[default.selection]]\nhas_keys = ["a"]\nkwargs = { days = 3 }\n',
        'R: [[default.selection]] number 1: "kwargs" needs a "function"',
    ),
    (
        "a selection function that would get its metadata twice",
        '[[default.selection]]\ntype = "plugin"\nfunction = "recent"\nkwargs = { metadata = 3 }\n',
        'R: [[default.selection]] number 1: "kwargs" has "metadata", which the function is given in any case',
    ),
    (
        "an integrity function that would get its path twice",
        '[[default.integrity]]\ntype = "function"\nfunction = "opens"\nkwargs = { file_path = "x" }\n',
        'R: [[default.integrity]] number 1: "kwargs" has "file_path", which the function is given '
        "in any case",
    ),
    (
        "an offset that no file has",
        '[[default.integrity]]\ntype = "magic"\nvalue = "00"\noffset = 9223372036854775807\n',
        'R: [[default.integrity]] number 1: key "offset": should be at most 4611686018427387904, '
        "not 9223372036854775807",
    ),
    (
        "a size that no file has",
        '[[default.integrity]]\ntype = "min_size"\nvalue = 9223372036854775807\n',
        'R: [[default.integrity]] number 1: key "value": should be at most 4611686018427387904, '
        "not 9223372036854775807",
    ),
    (
        "a regular expression that is none",
        '[[default.selection]]\nhas_keys = ["a"]\n[[default.selection]]\n'
        'field = [{ name = "category", matches = ["^a$", "(b"] }]\n',
        (
            'R: [[default.selection]] number 2: field "category": key "matches" number 2: "(b" '
            "is not a valid regular expression: missing ), unterminated subpattern at position 0"
        ),
    ),
    (
        "a regular expression that is none in the older form",
        '[[default.selection]]\nfield = "category"\nmatches = ["(b"]\n',
        (
            'R: [[default.selection]] number 1: key "matches" number 1: "(b" is not a valid '
            "regular expression: missing ), unterminated subpattern at position 0"
        ),
    ),
    (
        "a condition that asks nothing",
        '[[default.selection]]\nfield = [{ name = "category" }]\n',
        ('R: [[default.selection]] number 1: field "category": needs "matches" or "not_matches", or both'),
    ),
    (
        "a condition without a name",
        '[[default.selection]]\nfield = [{ matches = ["a"] }]\n',
        ('R: [[default.selection]] number 1: field number 1: key "name": is required (the metadata key)'),
    ),
    (
        "a condition that stands in no array",
        '[[default.selection]]\nfield = { name = "category", matches = ["a"] }\n',
        "R: [[default.selection]] number 1: field: should be an array of tables, such as [{ … }], not "
        '{"name": "category", "matches": ["a"]}',
    ),
    (
        "a condition with one expression as text",
        '[[default.selection]]\nfield = [{ name = "category", matches = "a" }]\n',
        (
            'R: [[default.selection]] number 1: field "category": key "matches": should be an '
            'array, such as ["a"]'
        ),
    ),
    (
        "an unknown key in a condition",
        '[[default.selection]]\nfield = [{ name = "category", match = ["a"] }]\n',
        (
            'R: [[default.selection]] number 1: field "category": there is no key "match"; did '
            'you mean "matches"?'
        ),
    ),
    (
        "routing without an archive",
        '[[default.routing]]\nmatch = "*"\n',
        (
            'R: [[default.routing]] number 1: needs either "match" and "archive", or type = '
            '"plugin" and "function"'
        ),
    ),
    (
        "routing to an archive that is not there",
        '[[default.routing]]\nmatch = "*"\narchive = "tape"\n',
        (
            'R: [[default.routing]] number 1: key "archive": there is no archive "tape" in '
            'config.toml; known: "main"'
        ),
    ),
    (
        "routing by two ways at once",
        '[[default.routing]]\nmatch = "*"\narchive = "main"\ntype = "plugin"\nfunction = "by_kind"\n',
        (
            'R: [[default.routing]] number 1: needs either "match" and "archive", or type = '
            '"plugin" and "function"'
        ),
    ),
    (
        "a routing function the plugin lacks",
        '[[default.routing]]\ntype = "plugin"\nfunction = "by_size"\n',
        (
            'R: [[default.routing]] number 1: key "function": the plugin has no routing function '
            '"by_size"; it has: "by_kind"'
        ),
    ),
    (
        "an unknown routing type",
        '[[default.routing]]\ntype = "regex"\nmatch = "*"\narchive = "main"\n',
        'R: [[default.routing]] number 1: key "type": should be "plugin", not "regex"',
    ),
]


@of(FAULTS)
def test_a_wrong_rule_gets_one_sentence(tmp_path: Path, text: str, fault: str) -> None:
    require_fault_of_rules(tmp_path, text, fault)


def test_faults_of_several_rule_sets_are_a_line_each(tmp_path: Path) -> None:
    text = """
        [default]
        archive = "tape"
        metadata.extract = "hdf"
        [other]
        complete = true
        [[third.integrity]]
        type = "sha"
        value = -1
    """
    config = load_config(written(tmp_path, GOOD))
    file = config.rules.file
    assert faults_of_rules(text, config) == [
        f'{file}: [default]: key "archive": there is no archive "tape" in config.toml; known: "main"',
        f'{file}: [default.metadata]: key "extract": the plugin has no extractor "hdf"; it has: "csv"',
        f'{file}: [other]: there is no key "complete"; did you mean "completeness"?',
        f'{file}: [[third.integrity]] number 1: key "type": should be "min_size", "max_size", "magic", '
        '"checksum" or "function", not "sha"',
        f'{file}: [[third.integrity]] number 1: key "value": should be at least 0, not -1',
    ]


def test_a_plugin_that_offers_nothing_is_said_to_have_none(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    (fault,) = faults_of_rules('[default.metadata]\nextract = "csv"\n', config, PluginNames())
    assert fault.endswith('the plugin has no extractor "csv"; it has: none')


def test_names_that_are_no_column_of_the_plugin_are_faults(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    rules = """
        [[default.selection]]
        has_keys = ["category", "strat"]
        [[default.selection]]
        lacks_keys = ["categroy"]
        field = [{ name = "start", matches = ["^2"] }, { name = "colour", matches = ["red"] }]
        [[default.selection]]
        field = "stop"
        matches = ["x"]
    """
    faults = faults_of_rules(rules, config, PluginNames(columns={"category": "text", "start": None}))
    number = f"{config.rules.file}: [[default.selection]] number"
    assert faults == [
        f'{number} 1: key "has_keys": the plugin has no column "strat"; did you mean "start"?',
        f'{number} 2: key "lacks_keys": the plugin has no column "categroy"; did you mean "category"?',
        f'{number} 2: key "field": the plugin has no column "colour"; known: "category", "start"',
        f'{number} 3: key "field": the plugin has no column "stop"; known: "category", "start"',
    ]
