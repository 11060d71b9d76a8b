"""`cmbert data`: prepare data sets from corpora, and inspect, audit and upload them."""

import typer

from ...interface.suggestions import SuggestingGroup
from .audit import audit
from .fetch import fetch
from .inspect import inspect
from .prepare import prepare
from .synthesize import synthesize
from .upload import upload

app = typer.Typer(cls=SuggestingGroup, help="Prepare and inspect data sets.", no_args_is_help=True)
for command in (prepare, inspect, upload, synthesize, audit, fetch):
    app.command()(command)
