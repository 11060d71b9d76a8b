"""`cmbert push`: an exported model to the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer


def push(
    model: Annotated[Path, typer.Argument(help="A directory that `cmbert export` wrote.")],
    repository: Annotated[str, typer.Argument(help="Where to on the Hub: OWNER/NAME; made if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Only its owners see it.")] = False,
    allow_closed: Annotated[
        bool, typer.Option("--allow-closed", help="Publish a model of closed sources: their licences allow it.")
    ] = False,
) -> None:
    """Upload a model with its card to the Hugging Face Hub.

    Example: cmbert push models/mine someone/clinical-modernbert --private

    Uses the token of `hf auth login` or HF_TOKEN. A model of sources that are not public goes into a private repository
    only, unless --allow-closed. Interrupted, the same command goes on: what the Hub has is not sent again.
    """
    from .hub import push_model

    typer.echo(f"pushed to {push_model(model, repository, private, allow_closed)}")
