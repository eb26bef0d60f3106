"""Every wrong rules.toml gets one sentence that names file, table, key and what would be right."""

from pathlib import Path

import pytest

from carbonation_core.config import Config, load_config
from carbonation_core.errors import ConfigError
from carbonation_core.ruleset import PluginNames, load_rules

CONFIG = """
[[watch]]
name = "incoming"
path = "incoming"
rules = "default"
[[archive]]
name = "main"
destination = "archive/{category}"
"""
OFFERED = PluginNames(("csv",), ("by_day",), ("recent",), ("by_kind",), ("opens",))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "config.toml").write_text(CONFIG)
    return load_config(tmp_path / "config.toml")


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
        "an unknown integrity type",
        '[[default.integrity]]\ntype = "crc"\nvalue = 1\n',
        (
            'R: [[default.integrity]] number 1: key "type": should be "min_size", "max_size", "magic", '
            '"checksum" or "function", not "crc"'
        ),
    ),
    (
        "an integrity check without value",
        '[[default.integrity]]\ntype = "min_size"\n',
        'R: [[default.integrity]] number 1: type = "min_size" needs a "value", the size in bytes',
    ),
    (
        "a size as text",
        '[[default.integrity]]\ntype = "max_size"\nvalue = "10 MB"\n',
        'R: [[default.integrity]] number 1: type = "max_size" needs a "value", the size in bytes',
    ),
    (
        "a size that is no whole number",
        '[[default.integrity]]\ntype = "min_size"\nvalue = 1.5\n',
        (
            'R: [[default.integrity]] number 1: key "value": should be a whole number, or hexadecimal '
            "text for magic, not 1.5"
        ),
    ),
    (
        "a key of another type of check",
        '[[default.integrity]]\ntype = "min_size"\nvalue = 1\noffset = 4\n',
        (
            'R: [[default.integrity]] number 1: type = "min_size" has no key "offset"; its keys: '
            '"extensions", "type", "value"'
        ),
    ),
    (
        "a key of another type of check, with a default",
        '[[default.integrity]]\ntype = "magic"\nvalue = "00"\ngrace = "10m"\n',
        (
            'R: [[default.integrity]] number 1: type = "magic" has no key "grace"; its keys: '
            '"extensions", "offset", "type", "value"'
        ),
    ),
    (
        "an unknown key of a check",
        '[[default.integrity]]\ntype = "checksum"\nsidecars = ".md5"\n',
        'R: [[default.integrity]] number 1: there is no key "sidecars"; did you mean "sidecar"?',
    ),
    (
        "an extension of a check without a dot",
        '[[default.integrity]]\ntype = "min_size"\nvalue = 1\nextensions = ["png"]\n',
        (
            'R: [[default.integrity]] number 1: key "extensions" number 1: should be an extension with '
            'its dot, such as ".json", not "png"'
        ),
    ),
    (
        "magic without a value",
        '[[default.integrity]]\ntype = "magic"\n',
        (
            'R: [[default.integrity]] number 1: type = "magic" needs a "value" in hexadecimal text, '
            'such as "89504e47"'
        ),
    ),
    (
        "magic that is not hexadecimal",
        '[[default.integrity]]\ntype = "magic"\nvalue = "PNG"\n',
        (
            'R: [[default.integrity]] number 1: type = "magic" needs a "value" in hexadecimal text, '
            'such as "89504e47"'
        ),
    ),
    (
        "magic of no byte",
        '[[default.integrity]]\ntype = "magic"\nvalue = " "\n',
        (
            'R: [[default.integrity]] number 1: type = "magic" needs a "value" in hexadecimal text, '
            'such as "89504e47"'
        ),
    ),
    (
        "a negative offset",
        '[[default.integrity]]\ntype = "magic"\nvalue = "00"\noffset = -1\n',
        'R: [[default.integrity]] number 1: key "offset": should be at least 0, not -1',
    ),
    (
        "a checksum from nowhere",
        '[[default.integrity]]\ntype = "checksum"\n',
        'R: [[default.integrity]] number 1: type = "checksum" needs a "sidecar" or a "manifest", or both',
    ),
    (
        "an unknown kind of sidecar",
        '[[default.integrity]]\ntype = "checksum"\nsidecar = "sha256"\n',
        (
            'R: [[default.integrity]] number 1: key "sidecar": should be ".md5", ".sha1", ".sha256" or '
            '".sha512", not "sha256"'
        ),
    ),
    (
        "a manifest in another directory",
        '[[default.integrity]]\ntype = "checksum"\nmanifest = "sums/SHA256SUMS"\n',
        (
            'R: [[default.integrity]] number 1: key "manifest": should be the name of a file, such as '
            '"SHA256SUMS", or a glob for it, not "sums/SHA256SUMS"'
        ),
    ),
    (
        "a manifest that takes the sidecars",
        '[[default.integrity]]\ntype = "checksum"\nsidecar = ".md5"\nmanifest = "*.md5"\n',
        'R: [[default.integrity]] number 1: "manifest" takes every sidecar, too: "*.md5"',
    ),
    (
        "an unknown algorithm",
        '[[default.integrity]]\ntype = "checksum"\nmanifest = "SUMS"\nalgorithm = "crc32"\n',
        (
            'R: [[default.integrity]] number 1: key "algorithm": should be "md5", "sha1", "sha256" or '
            '"sha512", not "crc32"'
        ),
    ),
    (
        "an algorithm beside a sidecar",
        '[[default.integrity]]\ntype = "checksum"\nsidecar = ".md5"\nalgorithm = "md5"\n',
        (
            'R: [[default.integrity]] number 1: "algorithm" needs a "manifest" beside it; a sidecar\'s '
            "extension names its own"
        ),
    ),
    (
        "a manifest that is to be archived as a sidecar",
        '[[default.integrity]]\ntype = "checksum"\nmanifest = "SUMS"\narchive_sidecar = true\n',
        'R: [[default.integrity]] number 1: "archive_sidecar" needs a "sidecar" beside it',
    ),
    (
        "a checksum of sidecars",
        '[[default.integrity]]\ntype = "checksum"\nsidecar = ".md5"\nextensions = [".md5", ".dat"]\n',
        ('R: [[default.integrity]] number 1: key "extensions": a sidecar has no checksum of its own: ".md5"'),
    ),
    (
        "a grace that is no duration",
        '[[default.integrity]]\ntype = "checksum"\nsidecar = ".md5"\ngrace = 10\n',
        (
            'R: [[default.integrity]] number 1: key "grace": should be a duration such as "30s", "5m", '
            '"2h" or "7d", not 10'
        ),
    ),
    (
        "a check by a function that is not named",
        '[[default.integrity]]\ntype = "function"\n',
        'R: [[default.integrity]] number 1: type = "function" needs a "function" beside it',
    ),
    (
        "an integrity function the plugin lacks",
        '[[default.integrity]]\ntype = "function"\nfunction = "open"\n',
        (
            'R: [[default.integrity]] number 1: key "function": the plugin has no integrity function '
            '"open"; it has: "opens"'
        ),
    ),
    (
        "a negative size",
        '[[default.integrity]]\ntype = "min_size"\nvalue = -1\n',
        'R: [[default.integrity]] number 1: key "value": should be at least 0, not -1',
    ),
    (
        "integrity in single brackets",
        '[default.integrity]\ntype = "min_size"\nvalue = 1\n',
        (
            "R: [[default.integrity]]: there can be several, so the heading should be "
            "[[default.integrity]], not [default.integrity]"
        ),
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
        "completeness without group_by",
        "[default.completeness]\n",
        (
            'R: [default.completeness]: key "group_by": is required (`stem`: the file\'s name '
            "less its extension; `plugin`: `group_function` says)"
        ),
    ),
    (
        "an unknown group_by",
        '[default.completeness]\ngroup_by = "name"\n',
        'R: [default.completeness]: key "group_by": should be "stem" or "plugin", not "name"',
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


@pytest.mark.parametrize(("text", "fault"), [pytest.param(*case, id=name) for name, *case in FAULTS])
def test_a_wrong_rule_gets_one_sentence(config: Config, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_rules(text, config, OFFERED)
    expected = fault.replace("R: ", f"{config.rules.file}: ").replace("C: ", f"{config.path}: ")
    assert list(raised.value.faults) == [expected.replace("{here}", str(config.directory))]


def test_faults_of_several_rule_sets_are_a_line_each(config: Config) -> None:
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
    with pytest.raises(ConfigError) as raised:
        load_rules(text, config, OFFERED)
    file = config.rules.file
    assert str(raised.value).splitlines() == [
        f'{file}: [default]: key "archive": there is no archive "tape" in config.toml; known: "main"',
        f'{file}: [default.metadata]: key "extract": the plugin has no extractor "hdf"; it has: "csv"',
        f'{file}: [other]: there is no key "complete"; did you mean "completeness"?',
        f'{file}: [[third.integrity]] number 1: key "type": should be "min_size", "max_size", "magic", '
        '"checksum" or "function", not "sha"',
        f'{file}: [[third.integrity]] number 1: key "value": should be at least 0, not -1',
    ]


def test_a_plugin_that_offers_nothing_is_said_to_have_none(config: Config) -> None:
    with pytest.raises(ConfigError) as raised:
        load_rules('[default.metadata]\nextract = "csv"\n', config, PluginNames())
    assert str(raised.value).endswith('the plugin has no extractor "csv"; it has: none')
