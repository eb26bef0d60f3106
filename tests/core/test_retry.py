"""Somebody asks for another attempt."""

import os

import pytest

from carbonation_core.errors import QueryError
from carbonation_core.lifecycle import FileStatus
from carbonation_core.retry import retry
from tests.site import Site, SiteMaker


def test_a_key_that_is_not_utf_8_may_be_given_raw_or_as_it_is_spelled(make: SiteMaker) -> None:
    site = make('[single.metadata]\nextract = "broken"\n', service={"max_retries": "0"})
    raw = os.fsdecode(b"a\xff.dat")
    site.deliver(raw, content=b"broken")
    for key in (raw, r"a\xff.dat"):
        site.one_pass()
        assert site.statuses() == {r"a\xff.dat": "failed"}
        assert retry(site.project, group_key=key) == 1


def test_a_key_that_is_not_there_is_an_error_that_spells_it(site: Site) -> None:
    with pytest.raises(QueryError, match=r'there is no group "a\\xff"'):
        retry(site.project, group_key=os.fsdecode(b"a\xff"), status=FileStatus.FAILED)
