"""`cmbert export` and `cmbert import`: to and from the directories of Hugging Face."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.reporting import suggest
from ..interface import completion
from ..interface.next_steps import evaluation_of
from ..release.gate import WITHOUT, find_report, privacy_of

if TYPE_CHECKING:
    from ...evaluation.privacy.report import PrivacyReport


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
    privacy_report: Annotated[
        Path | None,
        typer.Option(help="Report of `cmbert privacy` on these weights, if it is not in RUN.", metavar="PATH"),
    ] = None,
    without_privacy_report: Annotated[
        bool, typer.Option(WITHOUT, help="Export a model of restricted text whose privacy was not tested.")
    ] = False,
) -> None:
    """Write the model, its tokenizer and a model card in a form that transformers loads.

    Example: cmbert export runs/tiny --out models/tiny

    The exported model is loaded with transformers. If its logits differ from the trained model's, nothing is written.
    A model trained on sources that are neither public nor synthetic needs a privacy report of exactly these weights.
    """
    from ...training.export.inputs import check_export, newest_manifest

    def find() -> "PrivacyReport | None":
        return find_report(newest_manifest(run), run, privacy_report, without_privacy_report)

    check_export(run, out, evaluation, onnx, average, [find])

    from ...training.export.export import export_checkpoint

    privacy = privacy_of(newest_manifest(run), run, find())
    export_checkpoint(run, out, evaluation, sentence_embedding, onnx, average, privacy)
    typer.echo(f"exported to {out}")
    suggest(
        evaluation_of(str(out)),
        ["push", str(out), "OWNER/NAME", "--private", *([WITHOUT] if without_privacy_report else [])],
    )


def import_model(
    source: Annotated[
        Path,
        typer.Argument(
            help="A Hugging Face directory, OWNER/NAME or OWNER/NAME@REVISION on the Hub, or a composer .pt file."
        ),
    ],
    out: Annotated[Path, typer.Option(help="New directory for the model.")],
    new_head: Annotated[
        bool,
        typer.Option(
            "--new-head", help="Take only the encoder, as of a classifier; make the head and the decoder's bias new."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the new head.")] = 17,
) -> None:
    """Convert a ModernBERT of any format to a directory that a run continues and transformers loads.

    Example: cmbert import answerdotai/ModernBERT-base --out models/ModernBERT-base

    Random text goes through this project's model, what transformers loads from OUT, and what it loads from the source.
    If they differ, nothing is written. Nothing in a file is executed.
    """
    from ...model.start import open_start
    from ...streaming_data.shards.restricted import share_unless_restricted
    from ...training.export.inputs import check_convert
    from ...training.recipe.start import sources_of

    start = open_start(source)
    check_convert(start, out, new_head)
    share_unless_restricted(sources_of(start))

    from ...training.export.convert import convert

    record = convert(start, out, seed if new_head else None)
    for kind, lines in (
        ("note", record.notes),
        ("warning", record.warnings),
        ("proven", record.proven),
        ("not proven", record.not_proven),
    ):
        for line in lines:
            typer.echo(f"{kind}: {line}")
    if record.new_parameters:
        typer.echo(f"new, from seed {record.new_from_seed}: {', '.join(record.new_parameters)}")
    typer.echo(f"imported {record.address} to {out}")
    suggest(["train", "continue-base", "--set", f"initial_weights={out}", "--set", "data.path=DIRECTORY"])
