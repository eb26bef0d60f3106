"""Checks that read content, on a real directory: magic, and functions of a plugin."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import databases
from tests.core._helpers.sums import deliver, refused
from tests.site import PLUGIN, SINGLE, SiteMaker, touch

pytestmark = databases.one  # what files hold

PNG = SINGLE + '[[single.integrity]]\ntype = "magic"\nvalue = "89 50 4e47"\nextensions = [".png"]\n'


def test_leading_bytes_are_looked_at_where_the_extension_fits(make: SiteMaker) -> None:
    site = make(PNG)
    deliver(site, {"a.png": b"\x89PNG rest", "b.png": b"%PDF rest", "c.png": b"", "d.pdf": b"%PDF rest"})
    site.one_pass()
    assert site.statuses()["a.png"] == site.statuses()["d.pdf"] == "archived"
    assert refused(site, "b.png") == "begins with 25504446, where magic wants 89504e47"
    assert refused(site, "c.png") == "begins with nothing, where magic wants 89504e47"
    touch(site.incoming / "b.png", b"\x89PNG rest")
    site.one_pass()
    assert site.statuses()["b.png"] == "archived"


def test_magic_may_stand_further_in(make: SiteMaker) -> None:
    site = make(SINGLE + '[[single.integrity]]\ntype = "magic"\nvalue = "7573746172"\noffset = 257\n')
    deliver(site, {"a.tar": b"\0" * 257 + b"ustar", "b.tar": b"\0" * 300})
    site.one_pass()
    assert site.statuses()["a.tar"] == "archived"
    assert refused(site, "b.tar") == "has at byte 257 0000000000, where magic wants 7573746172"


def test_content_is_not_read_in_a_tick(make: SiteMaker) -> None:
    site = make(PNG)
    deliver(site, {"b.png": b"%PDF"})
    site.settle()
    assert site.statuses()["b.png"] == "waiting"


def with_check(function: Callable[..., Any]) -> dict[str, Any]:
    rules = SINGLE + '[[single.integrity]]\ntype = "function"\nfunction = "check"\nkwargs = { most = 3 }\n'
    return {"rules": rules, "plugin": replace(PLUGIN, integrity_functions={"check": function})}


def few_bytes(*, file_path: Path, most: int) -> str | None:
    size = len(file_path.read_bytes())
    return f"{size} bytes are too many" if size > most else None


def test_a_function_of_the_plugin_says_why_a_file_fails(make: SiteMaker) -> None:
    site = make(**with_check(few_bytes))
    deliver(site, {"a.bin": b"abc", "b.bin": b"abcd"})
    site.one_pass()
    assert site.statuses()["a.bin"] == "archived"
    assert refused(site, "b.bin") == 'fails integrity function "check": 4 bytes are too many'


def test_a_function_that_raises_is_a_failed_attempt(make: SiteMaker) -> None:
    def broken(*, file_path: Path, most: int) -> None:
        raise KeyError(most)

    site = make(**with_check(broken))
    deliver(site, {"a.bin": b"abc"})
    site.one_pass()
    component = site.component("a.bin")
    assert (component.status, component.retry_count) == ("retry_pending", 1)
    assert component.error_message.startswith('a.bin: integrity function "check" raised KeyError: 3 (')


@pytest.mark.parametrize("returned", [True, "", 3])
def test_a_function_that_returns_no_reason_is_a_failed_attempt(make: SiteMaker, returned: object) -> None:
    site = make(**with_check(lambda file_path, most: returned))
    deliver(site, {"a.bin": b"abc"})
    site.one_pass()
    assert site.statuses()["a.bin"] == "retry_pending"
    assert f"should return a reason or None, not {returned!r}" in site.component("a.bin").error_message
