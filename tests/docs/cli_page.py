"""docs/cli.md as the commands are today: python -m tests.docs.cli_page > docs/cli.md."""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from carbonation_dagster.cli import main
from carbonation_dagster.cli.commands import Command
from tests.docs.pages import table

PROSE = Path(__file__).with_name("cli_prose.md")


def prose() -> tuple[str, dict[str, str]]:
    """What stands before the commands, and what stands with one of them."""
    introduction, *sections = re.split(r"^## ", PROSE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    notes = (section.partition("\n") for section in sections)
    return introduction.strip(), {words: text.strip() for words, _, text in notes}


def commands(
    command: click.Command = main, words: tuple[str, ...] = (), parent: click.Context | None = None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command that does something, with its words and a context."""
    ctx = click.Context(command, parent, info_name=words[-1] if words else "carbonation")
    if not isinstance(command, click.Group):
        yield " ".join(words), command, ctx
        return
    for name in command.list_commands(ctx):
        found = command.get_command(ctx, name)
        assert found is not None
        yield from commands(found, (*words, name), ctx)


def page() -> str:
    """The page."""
    introduction, notes = prose()
    parts = [introduction + "\n"]
    for words, command, ctx in commands():
        parts.append(
            f"## `carbonation {words}{_arguments(command)}`\n\n{inspect.cleandoc(command.help or '')}\n"
        )
        rows = [(_flags(option), _meaning(option)) for option in _options(command, ctx)]
        if rows:
            parts.append(table(("option", "meaning"), rows) + "\n")
        assert isinstance(command, Command), f"{words}: its class should be that of cli/commands.py"
        assert command.examples, f"{words}: its help needs examples"
        parts.append("\n".join(("```console", *(f"$ {one}" for one in command.examples), "```\n")))
        if words in notes:
            parts.append(notes[words] + "\n")
    return "\n".join(parts)


def _arguments(command: click.Command) -> str:
    return "".join(
        f" [{one.name.upper()}]" for one in command.params if isinstance(one, click.Argument) and one.name
    )


def _options(command: click.Command, ctx: click.Context) -> list[click.Option]:
    return [
        one
        for one in command.get_params(ctx)
        if isinstance(one, click.Option) and not one.hidden and not {"--help", "--config"} & set(one.opts)
    ]


def _flags(option: click.Option) -> str:
    value = ""
    if not option.is_flag:
        choices = option.type.choices if isinstance(option.type, click.Choice) else ()
        value = f" {option.metavar or '/'.join(map(str, choices)) or option.type.name.upper()}"
    return " / ".join(f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts))


def _meaning(option: click.Option) -> str:
    text = option.help or ""
    shows = option.show_default and option.default is not None
    return f"{text} Default: `{option.default}`." if shows else text


if __name__ == "__main__":
    sys.stdout.write(page())
