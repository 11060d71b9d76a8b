"""`cmbert privacy`: attack the checkpoints of a run, and report what was found."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import UserError
from ...configs.preconditions import Check, check_all
from ...configs.reporting import suggest
from ..interface import completion
from ..interface.next_steps import export_of

if TYPE_CHECKING:
    from ...training.checkpoint.manifest import CheckpointManifest


def privacy(
    run: Annotated[
        Path,
        typer.Argument(help="The directory of a run, or of one of its checkpoints.", autocompletion=completion.runs),
    ],
    data: Annotated[
        str | None,
        typer.Option(help="The data set that the run was trained on: its patients are compared with held-out ones."),
    ] = None,
    canaries: Annotated[
        Path | None,
        typer.Option(help="The list of canaries that `data prepare` planted. Default: the one next to the data set."),
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="newest, all, or the name of one, such as step00000100.")] = "newest",
    source: Annotated[
        list[str],
        typer.Option(help="A source of the data set to attack; repeatable. Default: all with texts of patients."),
    ] = [],  # noqa: B006 - typer copies it
    samples: Annotated[
        int, typer.Option(help="At most so many patients on each side, and canaries at each level.", min=2)
    ] = 200,
    reference: Annotated[
        list[str],
        typer.Option(help="A model that was trained on other notes, or fewer; repeatable. Its losses are subtracted."),
    ] = [],  # noqa: B006 - typer copies it
    seed: Annotated[int, typer.Option(help="Of every random choice.", min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="Directory of the reports. Default: RUN/privacy")] = None,
) -> None:
    """Try to read patients out of a model: exposure of canaries, membership, recovery of identifiers, extraction.

    Example: cmbert privacy runs/mine --data data/packs

    Writes privacy.json and privacy.md for each checkpoint and one page of all, without any text of the data. What is
    found is a lower bound; finding nothing is no proof. After an interruption the same command continues.
    """
    from ...training.checkpoint.manifest import read_manifest
    from .models import chosen_checkpoints, run_of

    chosen = chosen_checkpoints(run, checkpoint)
    newest = read_manifest(chosen[-1])
    directory = out or run_of(chosen[0]) / "privacy"
    planted = canaries or _default_list(newest, data)
    check_all(_checks(chosen, newest, data, planted, source, reference, directory))

    from ...streaming_data.shards.restricted import every_source, share_unless_restricted
    from .page import write_page
    from .reports import Request, attack_checkpoint, read_reports

    share_unless_restricted(every_source(newest.sources, newest.initial_sources))
    request = Request(directory, data, planted, tuple(source), samples, seed, tuple(reference))
    for path in chosen:
        report = attack_checkpoint(path, request)
        typer.echo(f"{path.name}: {', '.join(report.attacks())}: {request.report_of(path)}")
    typer.echo(f"page: {write_page(run_of(chosen[0]).resolve().name, read_reports(directory), directory)}")
    suggest(export_of(run))


def _default_list(manifest: "CheckpointManifest", data: str | None) -> Path | None:
    """The list next to the data set, if it is there."""
    from ...streaming_data.canaries.file import canary_file

    address = data or manifest.data_address
    if address is None or "://" in address:
        return None
    path = canary_file(Path(address))
    return path if path.is_file() else None


def _checks(
    checkpoints: Sequence[Path],
    newest: "CheckpointManifest",
    data: str | None,
    planted: Path | None,
    sources: Sequence[str],
    references: Sequence[str],
    directory: Path,
) -> Iterator[Check]:
    """Everything that the attacks need. None of it imports torch or reads a pack."""
    from ...evaluation.models.addresses import check_address
    from ...storage.preconditions import check_writable
    from ...training.export.inputs import check_checkpoint

    yield lambda: check_writable(directory / "privacy.html")
    for path in checkpoints:
        yield partial(check_checkpoint, path)
    yield lambda: _require_something(checkpoints[-1], data, planted)
    if planted is not None:
        yield lambda: _check_canaries(planted, newest)
    if data is not None:
        yield lambda: _check_data(data, newest, sources)
    yield lambda: _check_names(references)
    for reference in references:
        yield partial(check_address, reference)


def _check_names(references: Sequence[str]) -> None:
    names = [Path(reference).name for reference in references]
    if repeated := sorted({name for name in names if names.count(name) > 1 or name == "untrained"}):
        raise UserError(
            f"--reference: the report names models by the last part of their address, and {', '.join(repeated)} is not "
            "the only one of its name; rename a directory"
        )


def _require_something(checkpoint: Path, data: str | None, planted: Path | None) -> None:
    if data is None and planted is None:
        raise UserError(
            f"{checkpoint}: nothing to attack it with: name the data set that it was trained on with --data, or the "
            "list of the canaries in it with --canaries"
        )


def _check_canaries(path: Path, manifest: "CheckpointManifest") -> None:
    from ...streaming_data.canaries.file import read_canaries

    found = read_canaries(path)
    if found.data != manifest.data_manifest:
        raise UserError(
            f"{path}: lists the canaries of data set {found.data}, but the checkpoint was trained on "
            f"{manifest.data_manifest}, so it has never seen them; give the list of its own data set"
        )


def _check_data(address: str, manifest: "CheckpointManifest", sources: Sequence[str]) -> None:
    from ...evaluation.privacy.patients import patient_sources
    from ...streaming_data.shards.manifest import manifest_hash, read_manifest

    found = read_manifest(address)
    if (identity := manifest_hash(found)) != manifest.data_manifest:
        raise UserError(
            f"{address}: data set {identity}, but the checkpoint was trained on {manifest.data_manifest}: whose text "
            "it has seen is known of its own data set only"
        )
    if unknown := [name for name in sources if name not in found.sources]:
        raise UserError(f"--source {unknown[0]}: the sources of {address} are {', '.join(found.sources)}")
    if not sources:
        patient_sources(found)
