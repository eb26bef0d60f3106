"""Expressions mean what they mean to Python, and none holds the process."""

import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbonation_core.errors import Unroutable
from carbonation_core.rules import expressions
from carbonation_core.rules.expressions import Expression

PIECES = [
    "a",
    "b",
    "é",
    ".",
    "^",
    "$",
    "\\w",
    "\\d",
    "\\s",
    "\\b",
    "[ab]",
    "[^a]",
    "(?:a|b)",
    "(?i:A)",
    "\\.",
]
TIMES = ["", "", "", "*", "+", "?", "{2}", "{1,3}", "*?"]
TRAP, BAIT = "^(x+x+)+y", "x" * 4000


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^(?!test)", "run", True),
        ("^(?!test)", "test1", False),
        ("(?<=/)cal", "a/cal", True),
        (r"^(\w)\1", "aab", True),
        (r"^\w+$", "Müller\n", True),
        (r"\d\Z", "٣", True),
        ("(?x) a  b # spaced", "ab", True),
        ("^a++b", "aab", True),
    ],
)
def test_all_that_python_can_do_is_understood(pattern: str, text: str, found: bool) -> None:
    assert Expression(pattern).is_found_in(text) is found is (re.search(pattern, text) is not None)


@pytest.mark.parametrize("pattern", ["(" * 500 + ")" * 500, "x{4294967295}", "(x){9999999999}"], ids=len)
def test_what_python_itself_gives_up_on_is_a_fault(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a valid regular expression"):
        Expression(pattern)


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(TIMES)), max_size=6), st.text("abé1 .\n"))
def test_an_expression_finds_what_python_finds(parts: list[tuple[str, str]], text: str) -> None:
    pattern = "".join(f"(?:{piece}){times}" for piece, times in parts)
    assert Expression(pattern).is_found_in(text) is (re.search(pattern, text) is not None)


def test_one_that_would_never_end_ends_while_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "LONGEST", 0.05)
    done = threading.Event()
    steps = 0

    def work() -> None:
        nonlocal steps
        while not done.wait(0.001):
            steps += 1

    other = threading.Thread(target=work)
    other.start()
    began = time.process_time()
    try:
        with pytest.raises(Unroutable) as raised:
            Expression(TRAP).is_found_in(BAIT)
    finally:
        done.set()
        other.join()
    assert time.process_time() - began < 2
    assert steps > 3
    assert str(raised.value) == (
        f'to look for "^(x+x+)+y" in "{"x" * 40}…" takes longer than 0.05 s; '
        "repetitions inside of repetitions make it so"
    )


def test_what_python_cannot_read_is_told_in_its_words() -> None:
    with pytest.raises(ValueError, match=r'"\(a" is not a valid regular expression: missing \),'):
        Expression("(a")


@pytest.mark.parametrize(
    "pattern", ["(a{1000}){1000}", "((a{100}){100,}){100}", "a{1000000}", "(a{9999}){99999}"]
)
def test_one_that_would_take_long_to_compile_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="repeats more than 100,000 times in all"):
        Expression(pattern)
