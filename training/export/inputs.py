"""What an export and an import need, checked before torch is imported; and the names by which others find an export."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...configs.errors import UserError
from ...configs.preconditions import Check, check_all, check_packages
from ...model.start import Start
from ...storage.preconditions import check_free, check_new
from ..checkpoint.files import find_corruption, require_checkpoints
from ..checkpoint.manifest import MANIFEST, CheckpointManifest, read_manifest
from ..recipe.start import require_weights
from .bias import read_probes
from .scores import read_scores

TRAINING = "training.json"
"""File in the exported directory that records the configuration and the data of the training run."""

_BYTES_PER_PARAMETER = 4
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def find_checkpoint(run: Path) -> Path:
    """Return the checkpoint `run`, or the newest checkpoint of the run `run`, after an integrity check."""
    newest, *older = _candidates(run)
    if problem := find_corruption(newest):
        if (run / MANIFEST).is_file():
            raise UserError(f"{problem}; give a run or one of its complete checkpoints")
        hint = f": to use an older checkpoint, give its directory, such as {older[0]}" if older else ""
        raise UserError(f"{problem}{hint}")
    return newest


def newest_manifest(run: Path) -> CheckpointManifest:
    """The manifest of the checkpoint that `find_checkpoint` returns, without its integrity check."""
    try:
        return read_manifest(_candidates(run)[0])
    except UserError as error:
        if (run / MANIFEST).is_file():
            raise UserError(f"{error}; give a run or one of its complete checkpoints") from error
        raise


def check_checkpoint(run: Path) -> None:
    """Check that there is a checkpoint and its run's tokenizer, without reading a tensor."""
    newest_manifest(run)
    directory = _candidates(run)[0].parent.parent / "tokenizer"
    if missing := [name for name in _TOKENIZER if not (directory / name).is_file()]:
        raise UserError(f"{directory}: no {', '.join(missing)}; copy the tokenizer directory of the run's data there")


def check_export(
    run: Path,
    out: Path,
    evaluations: Sequence[Path] = (),
    onnx: bool = False,
    average: bool = False,
    further: Iterable[Check] = (),
) -> None:
    """Check everything that `export_checkpoint` needs.

    Args:
        further: checks of the caller, made after those of the checkpoint.
    Raises:
        UserError: something is missing: a checkpoint, its running average, results, a library, a new and writable
            `out`, or free space.
    """
    checks: list[Check] = [
        lambda: check_packages("--onnx", "onnx") if onnx else None,
        lambda: read_scores(run, evaluations),
        lambda: read_probes(run, evaluations),
        lambda: check_new(out),
        lambda: check_checkpoint(run),
        *further,
        lambda: _check_average(newest_manifest(run)) if average else None,
        lambda: check_free(out, size(newest_manifest(run), copies=2 if onnx else 1), "the model"),
    ]
    check_all(checks)


def _check_average(manifest: CheckpointManifest) -> None:
    if manifest.averaged or manifest.config.get("running_average") is None:
        raise UserError("--average: the checkpoint has no running average; set running_average.decay in the recipe")


def size(manifest: CheckpointManifest, copies: int = 1) -> int:
    """The bytes of a checkpoint's parameters in fp32.

    Args:
        copies: of each parameter: 3 with the optimizer's two moments, 2 with an ONNX graph.
    """
    return manifest.model.num_parameters * _BYTES_PER_PARAMETER * copies


def _candidates(run: Path) -> list[Path]:
    """The checkpoint `run`, or the checkpoints of the run, newest first."""
    return [run] if (run / MANIFEST).is_file() else require_checkpoints(run)


def check_convert(start: Start, out: Path, new_head: bool) -> None:
    """Check everything that an import needs but what is in the weights.

    Raises:
        UserError: the source is a checkpoint or has no head or no weights, `out` exists, or there is no room for it.
    """
    checks: list[Check] = [
        lambda: _require_convertible(start, new_head),
        lambda: require_weights(Path(start.address)),
        lambda: check_new(out),
        lambda: check_free(out, _BYTES_PER_PARAMETER * start.config.num_parameters, "the model"),
    ]
    check_all(checks)


def _require_convertible(start: Start, new_head: bool) -> None:
    if start.kind == "checkpoint":
        raise UserError(f"{start.address}: a checkpoint of this project; `cmbert export` converts it")
    if not start.parsed.has_head and not new_head:
        raise UserError(
            f"{start.address}: its architecture has no head for masked tokens; --new-head takes its encoder, and makes "
            "the head and the decoder's bias new"
        )
