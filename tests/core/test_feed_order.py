"""Whoever polls sees each completion exactly once, in one order for all, however many write."""

import json
import multiprocessing
import os
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.core._helpers import feeding
from tests.site import Site

WRITERS, READERS = 8, 4
# FEED_COMPLETIONS=20000 takes minutes.
COMPLETIONS = int(os.environ.get("FEED_COMPLETIONS", "400"))


def start(what: Callable[..., None], *arguments: object) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=what, args=arguments)
    with warnings.catch_warnings():
        # Threads of earlier tests may idle here; the child uses none of their locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    return process


@pytest.mark.slow
@pytest.mark.timeout(300 + COMPLETIONS // 10)
def test_each_reader_sees_each_completion_once_in_the_same_order(site: Site, tmp_path: Path) -> None:
    each = COMPLETIONS // WRITERS
    outputs = [tmp_path / f"taken-{number}.json" for number in range(READERS)]
    site.project.engine.dispose()  # a child that inherits its connections could break them
    running = [start(feeding.read, site.directory, each * WRITERS, file) for file in outputs]
    for number in range(WRITERS):
        hours = 30 * (number - WRITERS // 2)  # that its clock is wrong; one is right
        running.append(start(feeding.write, site.directory, number, each, hours))
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0] * len(running)

    first, *others = [json.loads(file.read_text()) for file in outputs]
    assert all(other == first for other in others)
    sequences = [sequence for sequence, _ in first]
    assert sequences == sorted(set(sequences))
    assert sorted(key for _, key in first) == sorted(
        f"{writer}-{number}" for writer in range(WRITERS) for number in range(each)
    )
