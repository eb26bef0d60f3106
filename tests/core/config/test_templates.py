"""Destinations never leave their base, whatever the metadata hold."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carbonation_core.config.templates import check_template, constant_directory, fill, misfits, under
from carbonation_core.errors import Unroutable
from carbonation_core.names import NAME_MAX

BASE = Path("/archive/main")
VALUES = st.one_of(
    st.text(),
    st.text(alphabet="./\0a{}~\\\n"),
    st.sampled_from(
        ["..", "/", "/etc", "../../etc", "a/../../../b", "~root", "x" * 300, "\ud800", "", ".", "é" * 130]
    ),
    st.none(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.booleans(),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.binary(),
    st.lists(st.text()),
)
TEMPLATES = st.sampled_from(
    [
        "{a}",
        "{a}/{b}",
        "x{a}y/{b:>10}",
        "{a!r}",
        "{a:%Y/%m/%d}",
        "{a:d}/{b:.2f}",
        "{a}{b}",
        "..{a}",
        ".{a}./{b}",
        "{a:c}",
    ]
)


@given(TEMPLATES, VALUES, VALUES)
@example("{a}", "..", "")
@example(".{a}", ".", "")
@example("{a}{b}", ".", "./x")
@example("{a:c}", -1, "")
def test_the_result_lies_inside_the_base_or_there_is_none(template: str, a: object, b: object) -> None:
    try:
        directory = fill(under(template, BASE), {"a": a, "b": b}, BASE)
    except Unroutable:
        return
    assert directory.is_absolute()
    assert directory.is_relative_to(BASE)
    assert ".." not in directory.parts
    assert "\0" not in str(directory)
    assert all(len(part.encode("utf-8", "surrogateescape")) <= NAME_MAX for part in directory.parts)


@pytest.mark.parametrize(
    ("template", "values", "directory"),
    [
        (
            "{category}/{start:%Y/%m/%d}",
            {"category": "sst", "start": datetime(2024, 5, 1, tzinfo=UTC)},
            "sst/2024/05/01",
        ),
        ("{day:%Y}", {"day": date(2024, 5, 1)}, "2024"),
        ("{orbit:05d}", {"orbit": 42}, "00042"),
        ("v{version}", {"version": Decimal("1.10")}, "v1.10"),
        ("{{{category}}}", {"category": "sst"}, "{sst}"),
        ("{category}", {"category": "a/b"}, "a/b"),
        ("{category}", {"category": "a//b/"}, "a/b"),
        ("x{category}/{kind}", {"category": "", "kind": 0}, "x/0"),
        ("x{category}", {"category": "/etc"}, "x/etc"),
        ("{category}.{kind}", {"category": "", "kind": "a"}, ".a"),
        ("{category}", {"category": " "}, " "),
        ("{start:%Y/%m}//./{category}/", {"start": date(2024, 5, 1), "category": "a"}, "2024/05/a"),
        ("{a:/>3}b", {"a": "x/y"}, "x/yb"),
        ("all", {}, "all"),
    ],
)
def test_metadata_fill_the_placeholders(template: str, values: dict[str, object], directory: str) -> None:
    assert fill(under(template, BASE), values, BASE) == BASE / directory


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"b": 1, "c": 2}, 'names "a", which the metadata lack; keys there: b, c'),
        ({}, 'names "a", which the metadata lack; keys there: none'),
        ({"a": None}, 'names "a", which has no value'),
        ({"a": "../x"}, 'destination "/archive/main/../x" has ".." in it'),
        ({"a": "x\0y"}, "destination has a NUL character in it"),
        ({"a": "x" * 256}, "destination has a name of more than 255 bytes"),
        ({"a": "\ud800"}, "has a character that no file name can hold"),
        ({"a": "\ud800/.."}, "has a character that no file name can hold"),
        ({"a": ""}, 'destination "/archive/main/{a}": "{a}" comes out as nothing'),
        ({"a": "//"}, 'destination "/archive/main/{a}": "{a}" comes out as nothing'),
        ({"a": "/etc"}, 'destination "/archive/main/{a}": "{a}" comes out as the absolute path "/etc"'),
        ({"a": "."}, 'destination "/archive/main/." has "." in it'),
        ({"a": "./x"}, 'destination "/archive/main/./x" has "." in it'),
        ({"a": "x/."}, 'destination "/archive/main/x/." has "." in it'),
        ({"a": "x\x1b/.."}, 'destination "/archive/main/x\\x1b/.." has ".." in it'),
        ({"a": "x/" * 2100}, "destination has more than 4095 bytes"),
    ],
)
def test_a_group_that_leads_nowhere_says_why(values: dict[str, object], reason: str) -> None:
    with pytest.raises(Unroutable) as raised:
        fill(under("{a}", BASE), values, BASE)
    assert reason in str(raised.value)


def test_a_value_that_does_not_take_its_format_says_why() -> None:
    with pytest.raises(Unroutable, match=r'destination "/archive/main/\{a:%Y\}" cannot be filled: '):
        fill("/archive/main/{a:%Y}", {"a": 5}, BASE)


def test_a_destination_outside_its_base_is_refused() -> None:
    with pytest.raises(Unroutable, match='destination "/archive/x" lies outside base_path "/archive/main"'):
        fill("/archive/{a}", {"a": "x"}, BASE)


@pytest.mark.parametrize(
    ("template", "values", "reason"),
    [
        ("{a}/{b}", {"a": "", "b": "w"}, '"{a}" comes out as nothing'),
        ("{a}/{b}", {"a": "s", "b": ""}, '"{b}" comes out as nothing'),
        ("{a}{b}/c", {"a": "", "b": ""}, '"{a}{b}" comes out as nothing'),
        (".{a}/c", {"a": ""}, 'has "." in it'),
        (".{a}/c", {"a": "."}, 'has ".." in it'),
        ("{a}b/c", {"a": "/"}, '"{a}b" comes out as the absolute path "/b"'),
        ("{a:>0}/c", {"a": ""}, '"{a:>0}" comes out as nothing'),
        ("x{{y}}{a}/../c", {"a": "s"}, 'has ".." in it'),
    ],
)
def test_no_part_of_the_path_is_left_out(template: str, values: dict[str, object], reason: str) -> None:
    with pytest.raises(Unroutable) as raised:
        fill(under(template, BASE), values, BASE)
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("template", "directory"),
    [
        ("/a/b/x{y}", "/a/b"),
        ("/a/b/{y}", "/a/b"),
        ("/{y}", "/"),
        ("/a/b", "/a/b"),
        ("x{y}", "."),
        ("{y}", "."),
        ("/a{{b}}/{y}", "/a{b}"),
    ],
)
def test_the_constant_directory_ends_before_the_first_placeholder(template: str, directory: str) -> None:
    assert constant_directory(template) == directory


@pytest.mark.parametrize(
    ("template", "absolute"),
    [
        ("../b/{x}", "/archive/b/{x}"),
        ("/a/../b//{x}", "/b/{x}"),
        ("//a/{x}", "/a/{x}"),
        ("{x}/..y", "/archive/main/{x}/..y"),
        ("/{x}", "/{x}"),
        ("..", "/archive"),
    ],
)
def test_the_beginning_becomes_absolute_and_plain(template: str, absolute: str) -> None:
    assert under(template, BASE) == absolute


@pytest.mark.parametrize(
    "template", ["{a.b}", "{a[0]}", "{}", "{0}", "{a:{b}}", "{a!x}", "{a", "a}", "", "\0", "{a}/.."]
)
def test_a_template_that_can_never_be_filled_is_refused(template: str) -> None:
    with pytest.raises(
        ValueError, match=r"should be|is not a valid template|placeholder|after a placeholder"
    ):
        check_template(template)


@pytest.mark.parametrize("template", ["a", "{a}", "{a!r:>5}", "{{a}}", "../{a}", "~/{a}", "/a/..b/{c:%Y}"])
def test_a_usable_template_is_returned(template: str) -> None:
    assert check_template(template) == template


HELD: dict[str, object] = {
    "category": "text",
    "start": datetime(2000, 1, 1, tzinfo=UTC),
    "day": date(2000, 1, 1),
    "size": 1,
    "share": 1.0,
    "price": Decimal(1),
    "tags": None,
}


@pytest.mark.parametrize(
    "template",
    [
        "archive",
        "{watch_name}/{file_type}/{group_key}/{category:.3}",
        "{start:%Y/%m/%d}/{start:%-d %_H %06Y %EY %Om %f %j %%}/{day:%F}",
        "{start!s:.10}/{start}/{size:04d}/{share:.2f}/{price:.1f}/{size:%}",
        "{tags:anything}",
    ],
)
def test_a_destination_that_the_columns_can_fill_is_fine(template: str) -> None:
    assert list(misfits(template, HELD)) == []


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{categroy}/x", '"{categroy}" names no column of the plugin; did you mean "category"?'),
        ("{groupkey}", '"{groupkey}" names no column of the plugin; did you mean "group_key"?'),
        ("{start:%Q}", '"{start:%Q}" has an unknown directive, "%Q"'),
        ("{day:%Y/%-Q}", '"{day:%Y/%-Q}" has an unknown directive, "%-Q"'),
        ("{start:%Y%}", '"{start:%Y%}" has an unknown directive, "%"'),
        ("{start:Y}", '"{start:Y}" is the same for every time; parts of it are given as in "%Y/%m/%d"'),
        (
            "{start!s:%Y}",
            '"{start!s:%Y}" has a format that its column does not take: Invalid format',
        ),
        (
            "{category:%Y}",
            '"{category:%Y}" has a format that its column does not take: Invalid format',
        ),
        ("{size:%Y}", '"{size:%Y}" has a format that its column does not take: Invalid format'),
        ("{share:d}", "\"{share:d}\" has a format that its column does not take: Unknown format code 'd'"),
        ("{price:x}", '"{price:x}" has a format that its column does not take: '),
    ],
)
def test_a_placeholder_that_no_metadata_can_fill_is_named(template: str, said: str) -> None:
    (sentence,) = misfits(template, HELD)
    assert sentence.startswith(f"placeholder {said}")
