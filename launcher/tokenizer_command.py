"""`cmbert tokenizer`: a vocabulary of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from ..configs.loader import load
from ..configs.recipes import find_recipe
from .options import Overrides, Recipe

app = typer.Typer(help="Train tokenizers.", no_args_is_help=True)


@app.command()
def train(
    recipe: Recipe,
    vocab_size: Annotated[int, typer.Option(help="Tokens, special ones included; 50,368 is ModernBERT's.")] = 8192,
    out: Annotated[Path | None, typer.Option(help="Where it is written; left out, the recipe's `tokenizer`.")] = None,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Train a byte-level BPE tokenizer on the sources of a data recipe, the held-out split left out.

    Example: cmbert tokenizer train data/demo --vocab-size 8192
    """
    from ..streaming_data.corpora import read
    from ..streaming_data.documents import is_held_out
    from ..streaming_data.prepare_config import PrepareConfig
    from ..streaming_data.tokenizer import train as train_tokenizer

    config = load(PrepareConfig, find_recipe(recipe), overrides)
    directory = out or config.tokenizer
    texts = (
        document.text
        for source in config.sources
        for document in read(source)
        if not is_held_out(document, source.split_by, config.held_out, config.seed)
    )
    train_tokenizer(texts, vocab_size, directory, config.seq_length)
    typer.echo(f"tokenizer: {directory}")
