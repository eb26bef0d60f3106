"""`carbonation completion`: completion of commands, options and watches by a shell."""

import sys

import click

from carbonation_dagster.cli.commands import Command


@click.command(
    cls=Command,
    examples=(
        'eval "$(carbonation completion bash)"  # in ~/.bashrc; zsh likewise',
        "carbonation completion fish > ~/.config/fish/completions/carbonation.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print what has a shell complete commands, options and names of watches."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None  # click knows these three
    sys.stdout.write(made(ctx.find_root().command, {}, "carbonation", "_CARBONATION_COMPLETE").source())
