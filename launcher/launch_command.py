"""`cmbert launch`: the same run under different launchers."""

import typer

from .train_command import train

app = typer.Typer(help="Start a run on this machine, on hosts by ssh, or under a scheduler.", no_args_is_help=True)
app.command("local")(train)
