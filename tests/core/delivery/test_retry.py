"""Somebody asks for another attempt."""

import os
import re

import pytest

from carbonation_core.delivery.retry import retry
from carbonation_core.errors import QueryError
from carbonation_core.lifecycle import FileStatus
from tests.site import Site, SiteMaker


def test_a_key_that_is_not_utf_8_may_be_given_raw_or_as_it_is_spelled(make: SiteMaker) -> None:
    site = make('[single.metadata]\nextract = "broken"\n', service={"max_retries": "0"})
    raw = os.fsdecode(b"a\xff.dat")
    site.deliver(raw, content=b"broken")
    for key in (raw, r"a\xff.dat"):
        site.one_pass()
        assert site.statuses() == {r"a\xff.dat": "failed"}
        assert retry(site.project, group_key=key) == 1


@pytest.mark.parametrize(("key", "spelled"), [(os.fsdecode(b"a\xff"), r"a\xff"), ("a\0", r"a\x00")])
def test_a_key_that_is_not_there_is_an_error_that_spells_it(site: Site, key: str, spelled: str) -> None:
    with pytest.raises(QueryError, match=re.escape(f'there is no group "{spelled}"')):
        retry(site.project, group_key=key, status=FileStatus.FAILED)


def test_a_file_that_failed_a_check_before_it_was_grouped_is_found_by_its_key(site: Site) -> None:
    site.deliver("run1.dat", "run2.json")
    site.deliver("run1.json", "run2.dat", content=b"")
    site.settle()
    assert site.group_keys() == {"run1", "run2"}

    assert retry(site.project, group_key="run1", status=FileStatus.INTEGRITY_FAILED) == 1

    assert (site.statuses()["run1.json"], site.statuses()["run2.dat"]) == ("detected", "integrity_failed")


def test_so_is_one_whose_group_is_not_there_yet(site: Site) -> None:
    site.deliver("run1.json", content=b"")
    site.settle()
    assert site.group_keys() == set()
    assert retry(site.project, group_key="run1", status=FileStatus.INTEGRITY_FAILED) == 1


def test_what_is_tried_again_is_taken_at_the_next_look(make: SiteMaker) -> None:
    site = make('[single.metadata]\nextract = "broken"\n', service={"max_retries": "0"})
    site.deliver("a.dat", content=b"broken")
    site.one_pass()
    assert site.tick(3600).ready == 0
    retry(site.project, "incoming")
    assert site.tick().ready == 1
