"""`cmbert export`: export a checkpoint as a Hugging Face model."""

from pathlib import Path
from typing import Annotated

import typer

from ...configs.reporting import suggest
from ..interface import completion
from ..interface.next_steps import evaluation_of


def export(
    run: Annotated[
        Path,
        typer.Argument(help="Directory of a run, or of one of its checkpoints.", autocompletion=completion.runs),
    ],
    out: Annotated[Path, typer.Option(help="New directory for the model.")],
    evaluation: Annotated[
        list[Path],
        typer.Option(
            help="Results of `cmbert evaluate` for the model card, in addition to RUN/evaluation; repeatable."
        ),
    ] = [],  # noqa: B006 - typer copies it
    sentence_embedding: Annotated[
        bool, typer.Option("--sentence-embedding", help="Add files for sentence-transformers (mean pooling).")
    ] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Add an ONNX graph in onnx/; takes a minute or two.")] = False,
    average: Annotated[
        bool, typer.Option("--average", help="Export the running average of the weights (running_average.decay).")
    ] = False,
) -> None:
    """Write the model, its tokenizer and a model card in a form that transformers loads.

    Example: cmbert export runs/tiny --out models/tiny

    The exported model is loaded with transformers. If its logits differ from the trained model's, nothing is written.
    """
    from ...training.export.inputs import check_export

    check_export(run, out, evaluation, onnx, average)

    from ...training.export.export import export_checkpoint

    export_checkpoint(run, out, evaluation, sentence_embedding, onnx, average)
    typer.echo(f"exported to {out}")
    suggest(evaluation_of(str(out)), ["push", str(out), "OWNER/NAME", "--private"])
