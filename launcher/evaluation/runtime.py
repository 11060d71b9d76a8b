"""`cmbert check-runtime`: whether a runtime computes what an exported model's reference says."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...configs.errors import UserError
from ...configs.preconditions import Check, check_all, check_packages
from ...configs.reporting import suggest

if TYPE_CHECKING:
    from ...model.reference import Reference


def check_runtime(
    model: Annotated[Path, typer.Argument(help="An exported or fine-tuned model with reference.json.")],
    runtime: Annotated[
        Literal["onnx", "openvino", "transformers", "tei", "openai"],
        typer.Option(
            help="A library on this machine, or a server of embeddings: tei, or one with OpenAI's API (vLLM)."
        ),
    ],
    url: Annotated[str | None, typer.Option(help="tei, openai: address of the server, http://host:port.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="Allowed difference, as a share of the largest value. 16 bits: about 0.02.", min=0)
    ] = 1e-3,
) -> None:
    """Compare the outputs of a runtime with those of the model: reference.json has texts, token ids and outputs.

    Example: cmbert check-runtime models/mine --runtime onnx

    Embeddings of servers are compared by direction, since servers may normalize them.
    """
    from ...model.reference import read_reference

    def check_url() -> None:
        if (url is not None) is not (runtime in ("tei", "openai")):
            raise UserError("--url: give the address of the server with tei and openai, and only with them")

    package = {"onnx": "onnxruntime", "openvino": "openvino"}.get(runtime)
    checks: list[Check] = [check_url, lambda: read_reference(model)]
    if package:
        checks.append(lambda: check_packages(f"--runtime {runtime}", "onnx", [package]))
    check_all(checks)
    reference = read_reference(model)
    _check_tokens(model, reference)

    from ...training.export.runtimes import RUNTIMES, explain

    name, outputs = RUNTIMES[runtime].compute(model, reference, (url or "").rstrip("/"))
    if name not in reference.outputs:
        raise UserError(f"{model}: {runtime} gives {name}, and the reference has {', '.join(reference.outputs)}")
    differences = reference.differences(name, outputs, directions=RUNTIMES[runtime].server)
    for one, difference in zip(reference.inputs, differences, strict=True):
        typer.echo(f"{len(one.input_ids):>6,} tokens  {name}  difference {difference:.1e}")
    if max(differences) > tolerance:
        reasons = "; ".join(explain(reference, differences, tolerance))
        raise UserError(f"{runtime} differs from {model} by {max(differences):.1e}, more than {tolerance:g}: {reasons}")
    typer.echo(f"{runtime} computes what {model} does, within {tolerance:g}")
    suggest(["push", str(model), "OWNER/NAME", "--private"])


def _check_tokens(model: Path, reference: "Reference") -> None:
    """UserError if the tokenizer of the directory gives other ids: then no runtime can compute the same from a text."""
    from tokenizers import Tokenizer

    if not (model / "tokenizer.json").is_file():
        raise UserError(f"{model}: no tokenizer.json; a runtime makes the token ids of a text with it")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for number, one in enumerate(reference.inputs, start=1):
        if tokenizer.encode(one.text).ids != one.input_ids:
            raise UserError(
                f"{model}: its tokenizer gives other ids than the reference for input {number}; export it again"
            )
