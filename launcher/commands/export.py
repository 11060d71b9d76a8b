"""`cmbert export`: a run's newest checkpoint as a Hugging Face model."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="A run's directory, or one checkpoint in it.")],
    out: Annotated[Path, typer.Option(help="A new directory for the model.")],
    evaluation: Annotated[
        list[Path],
        typer.Option(help="Results of `cmbert evaluate` for the card, beside RUN/evaluation; repeatable."),
    ] = [],  # noqa: B006 - typer copies it
    sentence_embedding: Annotated[
        bool, typer.Option("--sentence-embedding", help="For sentence-transformers too: the mean of hidden states.")
    ] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="An ONNX graph too, in onnx/; takes a minute or two.")] = False,
) -> None:
    """Write the model, its tokenizer and a model card where transformers can load them.

    Example: cmbert export runs/tiny --out models/tiny

    The exported model is loaded with transformers and must give the logits of the trained one, or nothing is written.
    """
    from ...training.export.export import export_checkpoint

    export_checkpoint(run, out, evaluation, sentence_embedding, onnx)
    typer.echo(f"exported to {out}")
