"""What all commands have in common: `-c`, examples in their help, and a hint at what was probably meant."""

from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from carbonation_core.text import nearest


class _Helpful:
    """The parts of the help that click leaves to its users."""

    examples: Sequence[str]

    def get_short_help_str(self, limit: int = 0) -> str:
        """The first sentence, whole: the list of commands breaks lines, and cuts nothing."""
        return super().get_short_help_str(10_000)  # type: ignore[misc, no-any-return]  # of the command it is mixed into

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, as they can be typed."""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")


class Command(_Helpful, click.Command):
    """A command that takes `-c` as `carbonation` itself does, and has `examples` of how it is called."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.examples = examples
        self.params.append(config_option())


class Group(_Helpful, click.Group):
    """Commands under one word."""

    command_class = Command

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.params.append(config_option())

    @property
    def examples(self) -> list[str]:  # type: ignore[override]  # nobody sets them
        """One of each command."""
        ctx = click.Context(self)
        commands = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        return [one.examples[0] for one in commands if isinstance(one, Command | Group) and one.examples]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they stand in the source: what comes first in use comes first."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first word; one that there is not is wrong usage."""
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            hint = nearest(name, self.list_commands(ctx))
            raise click.UsageError(f'there is no command "{name}"; {hint}', ctx)
        return super().resolve_command(ctx, args)


def config_option() -> click.Option:
    """`-c`, which holds for the whole command line wherever it stands; the last one counts."""
    return click.Option(
        ["-c", "--config"],
        type=click.Path(dir_okay=False),
        expose_value=False,
        is_eager=True,
        callback=_use,
        help="Configuration; else $CARBONATION_CONFIG, else ./config.toml.",
    )


def _use(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    one: click.Context | None = ctx if value is not None else None
    while one is not None:
        one.obj, one = value, one.parent


def watch_name_option(help_text: str, *, multiple: bool = False) -> Callable[[Any], Any]:
    """`--watch-name`, which a shell completes from config.toml."""
    return click.option(
        "--watch-name", metavar="NAME", multiple=multiple, shell_complete=_watch_names, help=help_text
    )


def _watch_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from carbonation_core.config.loading import load_config
    from carbonation_core.errors import ConfigError

    try:
        watches = load_config(ctx.find_root().obj).watch
    except ConfigError:
        return []
    return [CompletionItem(one.name) for one in watches if one.name.startswith(incomplete)]


# Of commands that called it --watch before; click has the name without its dashes.
OLD_NAMES = {"token_normalize_func": lambda name: "watch-name" if name == "watch" else name}
