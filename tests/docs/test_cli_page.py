"""Every command and option is documented."""

import re

import pytest

from tests.docs import cli_page
from tests.docs.pages import DOCS

COMMITTED = (DOCS / "cli.md").read_text(encoding="utf-8")
COMMANDS = {words: (command, ctx) for words, command, ctx in cli_page.commands()}


def test_the_page_is_up_to_date() -> None:
    assert cli_page.page() == COMMITTED, "run: python -m tests.docs.cli_page > docs/cli.md"


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_and_its_options_are_explained(words: str) -> None:
    command, ctx = COMMANDS[words]
    section = re.search(rf"^## `carbonation {words}\b.*?(?=^## |\Z)", COMMITTED, re.MULTILINE | re.DOTALL)
    assert command.help
    assert section
    for option in cli_page._options(command, ctx):
        assert option.help, option.name
        for name in (*option.opts, *option.secondary_opts):
            assert f"`{name}" in section[0]


def test_notes_are_of_commands_that_there_are() -> None:
    assert set(cli_page.prose()[1]) <= set(COMMANDS)
