"""What becomes of a group when a function of the plugin raises, exits, or returns what it should not."""

import asyncio
import errno
import json
import logging
import os
import signal
import sys
from collections import UserDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from carbonation_core import Plugin
from carbonation_core.errors import AttemptFailed, EnvironmentFault
from carbonation_core.rules.rule_sets import Kind
from tests.site import PLUGIN, File, SiteMaker

FINE: Mapping[Kind, object] = {
    "extractor": {},
    "group function": "good",
    "selection function": True,
    "routing function": "main",
    "integrity function": None,
}
RULES: Mapping[Kind, str] = {
    "extractor": '[single.metadata]\nextract = "f"\n',
    "group function": '[single.completeness]\ngroup_by = "plugin"\ngroup_function = "f"\n',
    "selection function": '[[single.selection]]\ntype = "plugin"\nfunction = "f"\n',
    "routing function": '[[single.routing]]\ntype = "plugin"\nfunction = "f"\n',
    "integrity function": '[[single.integrity]]\ntype = "function"\nfunction = "f"\n',
}


class Ends(BaseException):
    """Of a plugin that means to be heard."""


def line_of(text: str) -> str:
    """Where that stands in this file, as a message ends."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if line.rstrip().endswith(text))
    return f" ({__file__}, line {number})"


def plugin_with(kind: Kind, function: Callable[..., Any]) -> Plugin:
    """The plugin of the tests, with the function of that kind as "f"."""
    field = f"{kind.replace(' ', '_')}s"
    return replace(PLUGIN, **{field: {"f": function}})


def failure(
    function: Callable[..., Any], *arguments: object, kind: Kind = "extractor", **keywords: Any
) -> str:
    """What is said when the function is asked."""
    with pytest.raises(AttemptFailed) as raised:
        plugin_with(kind, function).asked(kind, "f", *arguments, **keywords)
    return str(raised.value)


@pytest.mark.parametrize("kind", RULES)
def test_a_function_that_exits_stops_neither_its_pass_nor_its_neighbour(make: SiteMaker, kind: Kind) -> None:
    def exits(*arguments: Any, **keywords: Any) -> object:
        told = str(arguments or keywords)
        if "bad" in told or keywords.get("metadata", {}).get("category") == "bad":
            sys.exit("usage")  # as a command line does
        return FINE[kind]

    described = replace(plugin_with(kind, exits), extractors={"f": exits, **PLUGIN.extractors})
    rules = "[single]\n" + RULES[kind]
    if "metadata" not in rules:
        rules += '[single.metadata]\nextract = "sizes"\n'
    site = make(rules, plugin=described)
    site.deliver("bad.bin", content=b"bad")
    site.deliver("good.bin", content=b"good")
    site.one_pass()
    assert site.statuses() == {"bad.bin": "retry_pending", "good.bin": "archived"}
    message = f'{kind} "f" raised SystemExit: usage{line_of("# as a command line does")}'
    assert message in site.component("bad.bin").error_message


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no header"), "ValueError: no header"),
        (SystemExit(), "SystemExit"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError(), "CancelledError"),
        (Ends("it is over"), "Ends: it is over"),
        (AttemptFailed("as the service says it"), "AttemptFailed: as the service says it"),
        (AssertionError("x" * 170_000), f"AssertionError: {'x' * 2000}"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_function_raises_is_a_failed_attempt_that_names_the_line(
    error: BaseException, said: str
) -> None:
    def raises(file_paths: list[Path]) -> dict[str, Any]:
        raise error  # whatever it is

    assert failure(raises, []) == f'extractor "f" raised {said}{line_of("# whatever it is")}'


def test_the_line_is_that_of_the_plugin_and_not_of_a_library_it_uses() -> None:
    def reads(file_paths: list[Path]) -> Any:
        return json.loads("{")  # in the end

    assert failure(reads, []).endswith(line_of("# in the end"))


def test_without_a_line_of_the_plugin_the_last_one_is_named() -> None:
    said = failure(partial(json.loads, "{"))
    assert f" ({json.decoder.__file__}, line " in said


def test_a_function_that_cannot_be_called_so_is_named_by_where_it_begins() -> None:
    def of_nothing() -> None: ...  # takes no paths

    said = failure(of_nothing, [])
    assert said.endswith(f"takes 0 positional arguments but 1 was given{line_of('# takes no paths')}")


def test_an_exception_that_cannot_be_told_is_named() -> None:
    class Mute(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise ValueError

    def raises(file_paths: list[Path]) -> None:
        raise Mute  # says nothing

    assert failure(raises, []) == f'extractor "f" raised Mute{line_of("# says nothing")}'


def test_nor_can_one_that_exits_when_it_is_told_end_the_pass() -> None:
    class Mute(Exception):  # noqa: N818
        def __str__(self) -> str:
            sys.exit("mute")

    def raises(file_paths: list[Path]) -> None:
        raise Mute  # and exits

    assert failure(raises, []) == f'extractor "f" raised Mute{line_of("# and exits")}'


@pytest.mark.parametrize("kind", ["group function", "routing function", "integrity function"])
def test_text_is_what_a_subclass_of_it_holds(kind: Kind) -> None:
    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            sys.exit("text")

        def __eq__(self, other: object) -> bool:
            raise Ends

        __hash__ = str.__hash__

    answer = plugin_with(kind, lambda: Text("k")).asked(kind, "f")
    assert (type(answer), answer) == (str, "k")


@pytest.mark.parametrize(
    ("kind", "returned", "wanted"),
    [
        ("extractor", None, "a dict, not NoneType"),
        ("extractor", [("text", 1)], "a dict, not list"),
        ("group function", 5, "a key or None, not 5"),
        ("group function", "", "a key or None, not ''"),
        ("routing function", ["main"], "the name of an archive or None, not ['main']"),
        ("integrity function", True, "a reason or None, not True"),
    ],
)
def test_what_a_function_should_not_return_is_a_failed_attempt(
    kind: Kind, returned: object, wanted: str
) -> None:
    assert failure(lambda: returned, kind=kind) == f'{kind} "f" should return {wanted}'


def test_what_raises_when_it_is_looked_at_was_raised_by_its_function() -> None:
    class Broken(UserDict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise LookupError("gone")  # when it is read

    class Unclear:
        def __bool__(self) -> bool:
            raise ValueError("both")  # when it is judged

    said = failure(lambda: Broken(a=1))
    assert said == f'extractor "f" raised LookupError: gone{line_of("# when it is read")}'
    said = failure(Unclear, kind="selection function")
    assert said == f'selection function "f" raised ValueError: both{line_of("# when it is judged")}'


def test_a_fault_of_the_disk_is_none_of_the_plugin() -> None:
    def reads(*, file_path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(EnvironmentFault, match='integrity function "f" raised OSError'):
        plugin_with("integrity function", reads).asked("integrity function", "f", file_path=Path("a"))


def test_an_interrupt_is_for_the_process() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plugin_with("extractor", interrupted).asked("extractor", "f")


def test_so_is_what_a_signal_raises_while_a_plugin_is_at_work() -> None:
    def handler(_number: int, _frame: FrameType | None) -> None:
        raise Ends  # as Dagster's does when a run is to be terminated

    def works() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(Ends):
            plugin_with("extractor", works).asked("extractor", "f")
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_traceback_of_what_a_function_raised_is_there_for_whoever_wants_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(file_paths: list[Path]) -> dict[str, Any]:
        raise KeyError("start")

    plugin = Plugin(File, extractors={"fails": fails})
    with caplog.at_level(logging.DEBUG), pytest.raises(AttemptFailed):
        plugin.asked("extractor", "fails", [])
    (record,) = [one for one in caplog.records if one.name == "carbonation_core.plugin"]
    assert (record.levelname, record.getMessage()) == ("DEBUG", 'extractor "fails" raised KeyError')
    assert record.exc_info


def test_the_keywords_of_a_function_are_known_unless_it_takes_any() -> None:
    def exact(*, metadata: dict[str, Any], minimum: float = 0) -> bool:
        return bool(metadata) and minimum == 0

    assert plugin_with("selection function", exact).keywords("selection function", "f") == [
        "metadata",
        "minimum",
    ]
    assert plugin_with("selection function", lambda **any_: True).keywords("selection function", "f") is None
    assert plugin_with("extractor", dict).keywords("extractor", "f") is None
