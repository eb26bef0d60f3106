"""Files are tried in a watch as if they had just been delivered."""

from pathlib import Path

import pytest

from carbonation_core.errors import ConfigError
from carbonation_core.project import rules_on_disk
from carbonation_core.reports.preview import Preview, preview
from carbonation_core.reports.trial import Trial, try_files
from tests import databases
from tests.site import PAIRS, Site, SiteMaker

pytestmark = databases.one

ASKING = f"""{PAIRS}
    [pairs.metadata]
    extract = "sizes"
    [[pairs.selection]]
    lacks_keys = ["start"]
    [[pairs.selection]]
    type = "plugin"
    function = "no_tests"
"""


def tried(site: Site, *paths: Path, watch_name: str | None = None) -> Trial:
    return try_files(site.project, rules_on_disk(site.project), paths, watch_name)


def verdicts(found: list[Preview] | tuple[Preview, ...]) -> dict[str, str]:
    return {one.group_key: one.verdict for one in found}


def test_a_trial_says_what_a_dry_run_says(make: SiteMaker) -> None:
    site = make(ASKING)
    site.deliver("run1.dat", "run1.json", "run2.dat")

    assert [(one.group_key, one.verdict, one.reason) for one in tried(site).groups] == [
        (one.group_key, one.verdict, one.reason) for one in preview(site.project)
    ]


def test_what_is_archived_already_is_tried_as_new(make: SiteMaker) -> None:
    site = make(ASKING)
    site.deliver("run1.dat", "run1.json")
    site.one_pass()

    assert verdicts(preview(site.project)) == {"run1": "archived already"}
    assert verdicts(tried(site).groups) == {"run1": "archive"}


def test_functions_that_no_group_came_to_are_named(make: SiteMaker) -> None:
    site = make(ASKING)
    site.deliver("run1.dat")
    asked = {("extractor", "sizes"), ("selection function", "no_tests")}
    assert set(tried(site).unasked) == asked

    site.deliver("run1.json")
    assert tried(site).unasked == (("selection function", "no_tests"),)


def test_only_the_named_files_of_a_watch_are_tried(make: SiteMaker) -> None:
    site = make(ASKING)
    site.deliver("run1.dat", "run1.json", "run2.dat", "run2.json", "run3.tmp")

    found = tried(site, site.incoming / "run1.dat", site.incoming / "run1.json", site.incoming / "run3.tmp")

    assert verdicts(found.groups) == {"run1": "archive", "run3.tmp": "left alone"}
    assert found.groups[0].reason == "its watch leaves such names alone, by ignore_patterns"


def test_files_from_elsewhere_are_tried_as_of_the_only_watch(make: SiteMaker) -> None:
    site = make(ASKING, watch={"patterns": '["*.dat", "*.json"]'})
    samples = site.directory / "samples"
    samples.mkdir()
    for name in ("run1.dat", "run1.json", "notes.pdf"):
        (samples / name).write_bytes(b"x")

    assert verdicts(tried(site, samples).groups) == {"run1": "archive"}
    left = tried(site, samples / "notes.pdf").groups
    assert [one.reason for one in left] == [
        'its name matches none of the patterns of its watch: "*.dat", "*.json"'
    ]


def test_with_several_watches_one_has_to_be_named(make: SiteMaker, tmp_path: Path) -> None:
    more = '[[watch]]\nname = "second"\npath = "second"\nrules = "pairs"\narchive = "main"\n'
    site = make(ASKING, more=more)
    sample = site.directory / "run1.dat"
    sample.write_bytes(b"x")

    with pytest.raises(ConfigError, match=r'lies in no watch; .*: "incoming", "second"'):
        tried(site, sample)
    assert {one.watch_name for one in tried(site, sample, watch_name="second").groups} == {"second"}
