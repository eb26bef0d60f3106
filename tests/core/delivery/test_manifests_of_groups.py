"""Files that list the members of their group, as a look meets them."""

import hashlib
from dataclasses import replace
from pathlib import Path

from tests import databases
from tests.site import PLUGIN, SiteMaker

RULES = """
    [products.completeness]
    group_by = "pattern"
    patterns = "{product}_*"
    key = ["product"]
    manifest = { name = "*_list", MORE }
    [products.metadata]
    extract = "fields"
"""


def members(*, file_path: Path) -> list[str] | int:
    content = file_path.read_text()
    return int(content) if content.isdecimal() else content.split("+")


def fields(file_paths: list[Path], fields: dict[str, object]) -> dict[str, object]:
    return {"category": f"{fields['product']}, {len(file_paths)}"}


OWN = replace(PLUGIN, member_functions={"members": members}, extractors={"fields": fields})


def test_a_list_of_members_is_kept_by_each_database(make: SiteMaker) -> None:
    site = make(rules=RULES.replace("MORE", 'format = "plugin", function = "members"'), plugin=OWN)
    site.deliver("a_list", content=b"a_1+a_2")
    site.deliver("b_list", content=b"2")
    site.deliver("a_1", "b_1")
    site.one_pass()
    assert site.feed() == [("b", "completed")]
    site.deliver("a_2")
    site.one_pass()
    assert site.feed()[1:] == [("a", "completed")]
    assert site.group("a").category == "a, 3"


@databases.one
def test_a_manifest_that_cannot_be_understood_waits_for_a_better_one(make: SiteMaker) -> None:
    site = make(rules=RULES.replace("MORE", 'format = "checksums"'), plugin=OWN)
    site.deliver("a_list", "a_1")
    site.one_pass()
    assert site.component("a_list").error_message == "line 1 is no known checksum, and so is no manifest"
    site.deliver("a_list", content=b"0" * 64 + b"  a_1\n")
    site.one_pass()
    assert site.feed() == [("a", "completed")]


@databases.one
def test_a_list_of_checksums_may_list_the_members_too(make: SiteMaker) -> None:
    checked = """
    [[products.integrity]]
    type = "checksum"
    manifest = "*_list"
    grace = "1s"
    """
    site = make(rules=RULES.replace("MORE", 'format = "checksums"') + checked, plugin=OWN)
    right = hashlib.sha256(b"bytes").hexdigest()
    site.deliver("a_list", content=f"{right}  a_1\n{right}  a_2\n".encode())
    site.deliver("a_1")
    site.one_pass()
    assert site.feed() == []
    site.deliver("a_2", content=b"other bytes")
    site.one_pass()
    assert site.component("a_2").status == "integrity_failed"
    site.deliver("a_2")
    site.one_pass()
    assert site.feed() == [("a", "completed")]
    assert set(site.archived()) == {"a_list", "a_1", "a_2"}


@databases.one
def test_a_function_that_raises_is_asked_again(make: SiteMaker) -> None:
    site = make(rules=RULES.replace("MORE", 'format = "plugin", function = "members"'), plugin=OWN)
    site.deliver("a_list", content=b"")
    site.one_pass()
    assert site.statuses() == {"a_list": "retry_pending"}
    assert "should return" in site.component("a_list").error_message
