"""A dry run says of each file what a pass would say of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carbonation_core import Plugin
from carbonation_core.reports.preview import preview
from tests.site import PAIRS, File, Site, make_site

BY_FUNCTION = '[own.completeness]\ngroup_by = "plugin"\ngroup_function = "own"\n'


def raises(*, file_path: Path) -> str:
    raise LookupError(f"no day in {file_path.name}")


def gives(value: object) -> Callable[..., Any]:
    return lambda *, file_path: value


def grouped_by(function: Callable[..., Any], directory: Path) -> Site:
    site = make_site(directory, BY_FUNCTION, plugin=Plugin(File, group_functions={"own": function}))
    site.deliver("a.bin")
    return site


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (gives(5), 'group function "own" should return a key or None, not 5'),
        (gives(None), 'group function "own" gives it no group'),
        (gives(""), "group function \"own\" should return a key or None, not ''"),
        (gives("k" * 20_000), 'group function "own" gives a key of 20,000 characters, more than 10,000'),
        (raises, f'group function "own" raised LookupError: no day in a.bin ({__file__}, line 17)'),
    ],
    ids=["a number", "nothing", "an empty text", "a long text", "an exception"],
)
def test_a_dry_run_says_of_a_group_function_what_a_pass_says(
    tmp_path: Path, function: Callable[..., Any], says: str
) -> None:
    site = grouped_by(function, tmp_path)

    foretold = preview(site.project)
    site.one_pass()

    file = site.component("a.bin")
    assert [(one.group_key, one.verdict, one.reason) for one in foretold] == [("a.bin", file.status, says)]
    assert file.error_message == says
    site.close()


def test_a_dry_run_shows_the_key_that_a_pass_gives(tmp_path: Path) -> None:
    site = grouped_by(gives("day\n1"), tmp_path)

    assert [one.group_key for one in preview(site.project)] == [r"day\x0a1"]
    site.one_pass()
    assert site.group_keys() == {r"day\x0a1"}
    site.close()


@pytest.mark.parametrize("action", ["copy", "move"])
@pytest.mark.parametrize("name", ["run1.json", "run1.txt"], ids=["again", "late"])
def test_what_is_archived_of_a_group_counts_though_it_left_delivery(
    tmp_path: Path, action: str, name: str
) -> None:
    site = make_site(tmp_path, PAIRS, archive={"action": f'"{action}"'})
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    for path in site.incoming.glob("run1.*"):
        path.unlink()
    site.deliver(name, content=b"other bytes")

    (foretold,) = preview(site.project)
    site.one_pass()

    assert (foretold.verdict, foretold.reason) == ("archive", f"{name} to main")
    assert site.archived()[name] == b"other bytes"
    assert site.statuses()[name] == "archived"
    site.close()
