"""Every wrong check of integrity gets one sentence that names file, check, key and what would be right."""

from pathlib import Path

from tests.core._helpers.faulty import of, require_fault_of_rules

FAULTS = [
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
        'R: [[default.integrity]] number 1: type = "min_size" needs as "value" the number of bytes',
    ),
    (
        "a size as text",
        '[[default.integrity]]\ntype = "max_size"\nvalue = "10 MB"\n',
        'R: [[default.integrity]] number 1: type = "max_size" needs as "value" the number of bytes',
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
]


@of(FAULTS)
def test_a_wrong_check_gets_one_sentence(tmp_path: Path, text: str, fault: str) -> None:
    require_fault_of_rules(tmp_path, text, fault)
