"""The likely cause where something waits that seems to be there: names that people read as one.

`A.DAT` where `.dat` is expected, a name that one system writes in Unicode's NFC
and another in NFD, an extension that no list names.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from unicodedata import normalize

from carbonation_core.config.sections import Watch
from carbonation_core.names import matches_any
from carbonation_core.rules.decide import extension
from carbonation_core.rules.readiness import Shortfall
from carbonation_core.rules.rule_sets import RuleSet

_SEPARATOR = re.compile(r"/|\\x5c")  # of directories, on Windows, too; see `carbonation_core.names`
MOST = 3  # files of a group that are named


def difference(one: str, other: str) -> str | None:
    """What alone sets two names apart that people read as one; None: they are equal, or differ by more."""
    if one == other:
        return None
    if normalize("NFC", one) == normalize("NFC", other):
        return "Unicode form (NFC and NFD)"
    if one.casefold() == other.casefold():
        return "case"
    return "case and Unicode form (NFC and NFD)" if _read(one) == _read(other) else None


def waits(lacks: Shortfall, filenames: Iterable[str], rules: RuleSet) -> str:
    """What a group with these files waits for, and why it may: `for .dat; A.DAT has the extension .DAT`."""
    return "; ".join(filter(None, [lacks.waits, *causes_of(lacks, filenames, rules)]))


def causes_of(lacks: Shortfall, filenames: Iterable[str], rules: RuleSet) -> list[str]:
    """Why a group with these files may lack the names that it lacks."""
    return list(islice(_unlike(filenames, rules), MOST)) if lacks.names else []


def like_keys(keys: Iterable[str]) -> dict[str, str]:
    """Of each key of a group that waits which is read as that of another one: that it is so."""
    alike: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        alike[_read(key)].append(key)
    return {
        key: f'group "{other}" waits, too, and its key differs by {difference(key, other)} alone'
        for same in alike.values()
        for key, other in zip(same, [*same[1:], same[0]], strict=True)
        if key != other
    }


def like_listed(name: str, listed: Iterable[str]) -> str | None:
    """That a list of file names has one that is read as this one, or lies in a directory."""
    for other in listed:
        if apart := difference(name, other):
            return f'lists "{other}", which differs by {apart} alone'
        last = _SEPARATOR.split(other)[-1]
        if last != other and _read(last) == _read(name):
            return f'lists "{other}", with a directory before the name'
    return None


def like_pattern(name: str, watch: Watch) -> str | None:
    """That a pattern of the watch is read as if it fitted a name."""
    for pattern in watch.patterns:
        for apart, changed in (
            ("case", str.casefold),
            ("Unicode form (NFC and NFD)", lambda text: normalize("NFC", text)),
            ("case and Unicode form (NFC and NFD)", _read),
        ):
            if matches_any(changed(name), [changed(pattern)]):
                return f'it differs from "{pattern}" by {apart} alone'
    return None


def _unlike(filenames: Iterable[str], rules: RuleSet) -> Iterator[str]:
    """Of each file with an extension that the rule set does not list: what that is, and what is like it."""
    listed = rules.completeness.extensions if rules.completeness is not None else ()
    known = (*listed, *rules.sidecars)
    for filename in filenames:
        own = extension(filename, rules)
        if own in known or filename.endswith(rules.sidecars):
            continue
        like = next((one for one in known if difference(filename[-len(one) :], one)), None)
        if like is not None:
            own = filename[-len(like) :]
            what = "expected" if like in listed else "that of checksums"
            apart = difference(own, like)
            yield f"{filename} has the extension {own}, and {like} is {what}: they differ by {apart} alone"
        elif listed:
            has = f"has the extension {own}, which is neither expected nor optional"
            yield f"{filename} {has if own else 'has no extension'}"


def _read(name: str) -> str:
    return normalize("NFC", normalize("NFC", name).casefold())
