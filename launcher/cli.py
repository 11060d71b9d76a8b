"""The `cmbert` command.

Each command has its own module in `launcher/commands/`, or in `launcher/evaluation/`, `launcher/experiment/` and
`launcher/privacy/`, and is registered below. These modules import torch, transformers, deepspeed, streaming, and the
packages of this project that need them, inside functions, so that `cmbert --help` responds at once.

Exit codes: 0 success; 2 a user error, or a file that cannot be read or written (one `error: ...`; a traceback only
with CMBERT_DEBUG=1); 130 interrupted; 1 a bug. Training runs have further codes (`training/resilience/exit_codes.py`).
"""

import sys
from typing import Annotated

import typer

from .. import __version__
from ..configs.errors import USER_ERROR, UserError
from ..configs.home import expand_argument
from ..configs.libraries import hide_torchvision
from ..configs.reporting import configure, report_error
from ..storage.files import as_user_error
from ..streaming_data.shards.restricted import start_private
from .commands import checkpoint as checkpoint_command
from .commands import config as config_command
from .commands import demo as demo_command
from .commands import doctor as doctor_command
from .commands import export as export_command
from .commands import init as init_command
from .commands import launch as launch_command
from .commands import plan as plan_command
from .commands import push as push_command
from .commands import report as report_command
from .commands import status as status_command
from .commands import tokenizer as tokenizer_command
from .commands import train as train_command
from .commands.data import group as data_command
from .evaluation import embed as embed_command
from .evaluation import evaluate as evaluate_command
from .evaluation import finetune as finetune_command
from .evaluation import overlap as overlap_command
from .evaluation import predict as predict_command
from .evaluation import runtime as runtime_command
from .experiment import command as compare_recipes_command
from .interface.suggestions import SuggestingGroup
from .privacy import command as privacy_command

app = typer.Typer(
    name="cmbert",
    help="Pretrain clinical ModernBERT encoders: prepare data, train, export.",
    cls=SuggestingGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(demo_command.demo)
app.command(cls=init_command.InitCommand)(init_command.init)
app.command(name="import")(export_command.import_model)
data_command.app.command()(overlap_command.overlap)
app.add_typer(data_command.app, name="data")
app.add_typer(tokenizer_command.app, name="tokenizer")
app.command()(plan_command.plan)
app.command()(doctor_command.doctor)
app.command()(train_command.train)
app.add_typer(launch_command.app, name="launch")
app.command(cls=status_command.StatusCommand)(status_command.status)
app.command()(report_command.report)
app.add_typer(checkpoint_command.app, name="checkpoint")
app.command()(export_command.export)
app.command()(runtime_command.check_runtime)
app.command()(push_command.push)
app.command()(finetune_command.finetune)
app.command()(evaluate_command.evaluate)
app.command()(predict_command.predict)
app.command()(embed_command.embed)
app.command()(compare_recipes_command.compare_recipes)
app.command()(privacy_command.privacy)
app.add_typer(config_command.app, name="config")


def main() -> None:
    """The console entry point; never returns."""
    try:
        app(args=_arguments(), prog_name="cmbert")
    except UserError as error:
        report_error(error)
    except OSError as error:
        user_error = as_user_error(error)
        if user_error is None:
            raise
        user_error.__cause__ = error
        report_error(user_error)
    sys.exit(USER_ERROR)


def _arguments() -> list[str]:
    try:
        return list(map(expand_argument, sys.argv[1:]))
    except ValueError as error:
        raise UserError(str(error)) from error


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"cmbert {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    start_private()
    configure()
    hide_torchvision()
