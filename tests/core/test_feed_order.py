"""Whoever polls sees each completion exactly once, in one order for all, however many write."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.site import Site

ROOT = Path(__file__).parents[2]
WRITERS, READERS = 8, 4
# FEED_COMPLETIONS=20000 takes minutes.
COMPLETIONS = int(os.environ.get("FEED_COMPLETIONS", "400"))


def start(*arguments: object) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "tests.core.feeding", *map(str, arguments)]
    return subprocess.Popen(words, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.timeout(300 + COMPLETIONS // 10)
@pytest.mark.parametrize("wrong_clocks", [False, True])
def test_each_reader_sees_each_completion_once_in_the_same_order(
    site: Site, tmp_path: Path, wrong_clocks: bool
) -> None:
    each = COMPLETIONS // WRITERS
    outputs = [tmp_path / f"taken-{number}.json" for number in range(READERS)]
    running = [start("read", site.directory, each * WRITERS, file) for file in outputs]
    for number in range(WRITERS):
        hours = (number - 4) * 30 if wrong_clocks else 0
        running.append(start("write", site.directory, number, each, hours))
    assert [process.wait() for process in running] == [0] * len(running)

    first, *others = [json.loads(file.read_text()) for file in outputs]
    assert all(other == first for other in others)
    sequences = [sequence for sequence, _ in first]
    assert sequences == sorted(set(sequences))
    assert sorted(key for _, key in first) == sorted(
        f"{writer}-{number}" for writer in range(WRITERS) for number in range(each)
    )
