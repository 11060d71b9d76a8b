"""Where a run stands, and the checkpoints that remember it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ..configs.errors import UserError
from ..streaming_data.loader.dataset import PackDataset
from ..streaming_data.shards.manifest import manifest_hash
from .checkpoint import save_load as checkpoint
from .checkpoint.attempts import Attempt
from .checkpoint.files import prune, read_manifest
from .checkpoint.mirror import Mirror, bring_newest
from .checkpoint.provenance import provenance
from .recipe.config import RunConfig
from .recipe.schedule import packs_before
from .resilience.spikes import Skip, restore_skips
from .zero.loss_scaling import restore_scaling, scaling_state


@dataclass(frozen=True)
class Progress:
    """What a resume needs to know besides the weights.

    Attributes:
        step: optimizer steps made.
        packs: consumed, over all ranks.
        tokens: real tokens seen, counted.
        source_tokens: the same of each source, by name.
    """

    step: int = 0
    packs: int = 0
    tokens: int = 0
    source_tokens: dict[str, int] = field(default_factory=dict)

    def after(self, packs: int, tokens: Mapping[str, int]) -> "Progress":
        """One step on: so many packs, and of each source so many real tokens."""
        return Progress(
            step=self.step + 1,
            packs=self.packs + packs,
            tokens=self.tokens + sum(tokens.values()),
            source_tokens={name: self.source_tokens.get(name, 0) + count for name, count in tokens.items()},
        )


def resume(engine: Any, config: RunConfig, dataset: PackDataset, steps: int) -> Progress:
    """Continue from the newest whole checkpoint of the run, if there is one here or in its object store.

    Args:
        steps: of the whole run.
    Raises:
        UserError: the checkpoints are all damaged, or the data, the batch, the skips or `steps` do not fit the newest.
    """
    if config.checkpoint.upload and dist.get_rank() == 0:
        bring_newest(config.checkpoint.upload, config.run_dir / "checkpoints")
    path, damaged = checkpoint.newest_complete(config.run_dir / "checkpoints")
    for problem in damaged if dist.get_rank() == 0 else ():
        print(f"warning: skipping a damaged checkpoint: {problem}", flush=True)
    if path is None:
        return Progress()
    manifest = read_manifest(path)
    if changed := differences(manifest["data"], json.loads(json.dumps(dataset.identity()))):
        raise UserError(
            f"{path}: the data changed since this checkpoint, so its order cannot be continued: "
            f"{'; '.join(changed)}. Restore what changed, or start in another run_dir"
        )
    progress = Progress(**manifest["progress"])
    if progress.packs != (planned := packs_before(config, progress.step)):
        raise UserError(
            f"{path}: {progress.packs:,} packs were consumed in its {progress.step:,} steps, but the batch section "
            f"says {planned:,} now: set it back, or start in another run_dir"
        )
    if progress.step > steps:
        raise UserError(
            f"{config.run_dir}: {progress.step:,} steps are made, and schedule.total_tokens is that of {steps:,}: set "
            "it back, or start in another run_dir"
        )
    restore_skips(config.run_dir, [Skip(**skip) for skip in manifest.get("skips", [])])
    checkpoint.load(engine, path, manifest)
    restore_scaling(engine, manifest.get("scaling", {}))
    if dist.get_rank() == 0:
        print(f"continuing from {path}: step {progress.step}, {progress.packs:,} packs consumed", flush=True)
        for change in differences(manifest["config"], config.model_dump(mode="json")):
            print(f"changed since then: {change}", flush=True)
    return progress


def differences(then: Any, now: Any, name: str = "") -> list[str]:
    """What differs between two trees of JSON, by dotted names; long values such as hashes are cut."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = dict.fromkeys((*now, *then))
        return [each for key in keys for each in differences(then.get(key), now.get(key), f"{name}.{key}".lstrip("."))]
    return [] if then == now else [f"{name} was {_short(then)}, is {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:20]}..."


def save(
    engine: Any,
    config: RunConfig,
    dataset: PackDataset,
    progress: Progress,
    skips: Sequence[Skip],
    attempt: Attempt,
    mirror: Mirror | None = None,
    validation_loss: float | None = None,
) -> Path:
    """Write a checkpoint of the run as it stands, then drop those that are not to be kept. Every rank calls it.

    Args:
        mirror: takes a copy, if rank 0 has one.
        validation_loss: mean over sources, if it was measured at this step.
    """
    directory = config.run_dir / "checkpoints"
    contents = {}
    if dist.get_rank() == 0:
        contents = _contents(engine, config, dataset, progress, skips, attempt) | {"validation_loss": validation_loss}
    path = checkpoint.save(engine, directory, progress.step, attempt, contents)
    if mirror is not None:
        mirror.add(path)
    if dist.get_rank() == 0 and not attempt.superseded():
        keep = config.checkpoint
        prune(directory, keep.keep_last, keep.keep_every_steps, keep.keep_best, newest=progress.step)
    dist.barrier()
    return path


def _contents(
    engine: Any, config: RunConfig, dataset: PackDataset, progress: Progress, skips: Sequence[Skip], attempt: Attempt
) -> dict[str, Any]:
    """Of a manifest: the state of the run and where it came from."""
    return {
        "progress": asdict(progress),
        "attempt": attempt.number,
        "scaling": scaling_state(engine),
        "model": engine.module.config.model_dump(mode="json"),
        "data": dataset.identity(),
        "skips": [skip._asdict() for skip in skips],
        "data_manifest": manifest_hash(dataset.manifest),
        "data_address": dataset.address,
        "sources": {
            name: {key: getattr(dataset.manifest.sources[name], key) for key in ("licence", "public", "synthetic")}
            for name in dataset.sources
        },
        "config": config.model_dump(mode="json"),
        **provenance(),
    }
