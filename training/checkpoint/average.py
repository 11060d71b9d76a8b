"""The average of several checkpoints of a run, as a checkpoint of weights.

It is read and written in pieces, so that memory is bounded whatever the size of the model. The sums are in fp64 and
rounded once, so that the order of the checkpoints and the ranks that wrote them do not matter.
"""

import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...configs.errors import UserError
from ...configs.progress import Progress
from ...storage.files import fsync, hash_file, stage_directory
from ...streaming_data.shards.restricted import every_source, share_unless_restricted
from .files import directory_name, require_checkpoints, step_of, verify
from .layout import BYTES, Layout, plan_file, whole
from .manifest import VERSION, CheckpointManifest, FileEntry, parameters_of, read_manifest, write_manifest
from .names import node_file

logger = logging.getLogger(__name__)
_PIECE = 1 << 20
"""Elements read from each checkpoint at a time."""


def parse_weights(text: str | None, count: int) -> list[float]:
    """The weights of `count` checkpoints, which sum to one.

    Args:
        text: numbers separated by commas, from the oldest checkpoint to the newest; None: all are equal.
    Raises:
        UserError: they are not `count` positive numbers.
    """
    if text is None:
        return [1 / count] * count
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--weights {text}: {error}; expected numbers such as 1,2,4") from error
    if len(numbers) != count or not all(number > 0 and math.isfinite(number) for number in numbers):
        raise UserError(
            f"--weights {text}: expected {count} positive numbers, one per checkpoint from the oldest to the newest"
        )
    return [number / sum(numbers) for number in numbers]


def newest_complete(run: Path, count: int) -> list[Path]:
    """The newest `count` checkpoints of a run whose files have the hashes with which they were written, oldest first.

    Raises:
        UserError: the run has fewer, or they are not of one model.
    """
    complete: list[Path] = []
    for path in require_checkpoints(run):
        if problem := verify(path):
            logger.warning(f"skipping a corrupt checkpoint: {problem}")
        else:
            complete.append(path)
        if len(complete) == count:
            break
    if len(complete) < count:
        raise UserError(
            f"{run}: {len(complete)} complete checkpoints, and --last {count} needs {count}: lower it; a run keeps as "
            "many as checkpoint.keep_last says"
        )
    manifests = {path: read_manifest(path) for path in complete}
    newest = manifests[complete[0]]
    for path, manifest in manifests.items():
        if (manifest.model, manifest.tokenizer) != (newest.model, newest.tokenizer):
            raise UserError(
                f"{path}: its architecture or tokenizer is not that of {complete[0].name}: choose a smaller --last"
            )
    return complete[::-1]


def write_average(checkpoints: Sequence[Path], weights: Sequence[float], out: Path) -> Path:
    """Write the weighted average of checkpoints to the new directory `out`, which is laid out as a run.

    Args:
        checkpoints: of one run and one model, as `newest_complete` returns them.
        weights: of each, with a sum of one.
    Returns:
        The new checkpoint. A run cannot be continued from it, as it has no state of an optimizer.
    Raises:
        UserError: a checkpoint cannot be read, or `out` exists or cannot be written.
    """
    newest = read_manifest(checkpoints[-1])
    share_unless_restricted(every_source(newest.sources, newest.initial_sources))
    name = directory_name(step_of(checkpoints[-1]))
    with stage_directory(out) as staging:
        directory = staging / "checkpoints" / name
        directory.mkdir(parents=True)
        file = directory / node_file(0, 1)
        layout = _write_weights(checkpoints, weights, file)
        write_manifest(directory, _manifest(newest, checkpoints, weights, file, layout))
        tokenizer = checkpoints[-1].parent.parent / "tokenizer"
        if tokenizer.is_dir():
            (staging / "tokenizer").mkdir()
            for source in tokenizer.iterdir():
                shutil.copyfile(source, staging / "tokenizer" / source.name)
    return out / "checkpoints" / name


def _manifest(
    newest: CheckpointManifest, checkpoints: Sequence[Path], weights: Sequence[float], file: Path, layout: Layout
) -> CheckpointManifest:
    entry = FileEntry(bytes=file.stat().st_size, xxh3_128=(hash_file(file),))
    changes = {
        "version": VERSION,
        "world_size": 1,
        "optimizer_step": 0,
        "files": {file.name: entry},
        "parameters": parameters_of({file.name: layout}),
        "attempt": None,
        "validation_loss": None,
        "averaged": {path.name: weight for path, weight in zip(checkpoints, weights, strict=True)},
    }
    return newest.model_copy(update=changes)


def _write_weights(checkpoints: Sequence[Path], weights: Sequence[float], file: Path) -> Layout:
    """Write the average as a safetensors file, and return its layout."""
    from contextlib import ExitStack

    import torch

    from ..zero.parameter_shards import ParameterShard
    from .shard_reader import WEIGHTS, ShardReader

    with ExitStack() as stack, file.open("wb") as stream:
        readers = [stack.enter_context(ShardReader(path, read_manifest(path))) for path in checkpoints]
        shapes = readers[-1].shapes
        planned = plan_file(whole(shapes), [f"{name}/{WEIGHTS}" for name in shapes])
        stream.write(planned.head)
        with Progress("averaging", planned.size - len(planned.head), "B") as progress:
            for name, start, numel in _pieces(planned.layout):
                shard = ParameterShard(name, shapes[name], start, numel, flat=torch.empty(0), offset=0)
                total = torch.zeros(numel, dtype=torch.float64)
                for reader, weight in zip(readers, weights, strict=True):
                    total += reader.read(shard, WEIGHTS).double() * weight
                stream.write(total.float().numpy().astype("<f4", copy=False).tobytes())
                progress.advance(numel * BYTES)
    fsync(file)
    return planned.layout


def _pieces(layout: Layout) -> Iterator[tuple[str, int, int]]:
    """(parameter, start, elements) of each piece, in order."""
    for name, (_, size, _) in layout.items():
        for start in range(0, size, _PIECE):
            yield name, start, min(_PIECE, size - start)
