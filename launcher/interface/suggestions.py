"""Suggestions for a mistyped command or option, also when it exists elsewhere: `cmbert prepare`, `train --gpu h100`."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from ...configs.spelling import nearest_name


class SuggestingGroup(TyperGroup):
    """A group of commands that suggests commands of this group and of others, and options of other commands."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and not name.startswith("-"):
            close = _similar_commands(name, self, ctx)
            question = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            ctx.fail(f"No such command '{name}'.{question}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _USAGE_ERROR as error:
            if ctx.parent is None and hasattr(error, "possibilities"):  # no such option
                error.message += "." + _explain_option(error.option_name, error.ctx, ctx.find_root())
                error.possibilities = None
            raise


_USAGE_ERROR: Any = typer.BadParameter.__bases__[0]  # typer does not export it, and has its own copy of click


def _similar_commands(name: str, group: TyperGroup, ctx: Any) -> list[str]:
    """Return commands of exactly this name in other groups, else the closest in this group, else in others."""
    root = ctx.find_root()
    everywhere = {path: path.split()[-1] for path, _ in _commands(root.info_name, root.command)}
    if same := [path for path, last in everywhere.items() if last == name]:
        return same
    if close := nearest_name(name, group.commands):
        return [f"{ctx.command_path} {close}"]
    last = nearest_name(name, everywhere.values())
    return [path for path, word in everywhere.items() if word == last]


def _explain_option(option: str, ctx: Any, root: Any) -> str:
    """Return the commands that have this option, else the closest option of the command that was used."""
    others = [path for path, command in _commands(root.info_name, root.command) if option in _options(command)]
    if others:
        return f" It is an option of {', '.join(map(repr, others))}."
    own = [spelled for parameter in ctx.command.params for spelled in parameter.opts if spelled.startswith("--")]
    close = nearest_name(option, own)
    return f" Did you mean {close}?" if close else ""


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield the path and the command for each command below this one."""
    for name, child in getattr(command, "commands", {}).items():
        yield f"{path} {name}", child
        yield from _commands(f"{path} {name}", child)


def _options(command: Any) -> set[str]:
    return {spelled for parameter in command.params for spelled in parameter.opts}
