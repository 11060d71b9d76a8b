"""The checkpoints of one run, as the training loop uses them."""

import json
import logging
from pathlib import Path
from time import perf_counter
from typing import Any

import torch.distributed as dist

from ...configs.errors import UserError
from ...streaming_data.loader.dataset import PackDataset
from ...streaming_data.shards.manifest import manifest_hash
from ..recipe.config import RunConfig
from ..recipe.schedule import Plan
from ..resilience.skips import Skip, read_skips, restore_skips
from ..zero.loss_scaling import restore_scaling, scaling_state
from . import files, save_load
from .attempts import Attempt, begin_attempt
from .compatibility import differences, require_same_model
from .manifest import CheckpointManifest, FileEntry, SourceTerms, read_manifest
from .mirror import Mirror, download_newest
from .progress import Progress
from .provenance import provenance

logger = logging.getLogger(__name__)


class Checkpointer:
    """Resumes a run, saves its checkpoints, removes old ones, and copies them to an object store if configured.

    Every rank has one, and every method is called by all ranks, `resume` first.

    Attributes:
        skips: the packs that the run leaves out after spikes of its loss. They do not change during an attempt.
    """

    def __init__(self, engine: Any, config: RunConfig, dataset: PackDataset) -> None:
        self.skips: list[Skip] = []
        self._engine = engine
        self._config = config
        self._dataset = dataset
        self._directory = config.run_dir / "checkpoints"
        self._attempt: Attempt | None = None
        self._mirror: Mirror | None = None

    def resume(self, plan: Plan) -> Progress:
        """Continue from the newest checkpoint, if there is one, and take over the run from earlier attempts.

        Raises:
            UserError: all checkpoints are corrupt, or the newest does not fit the model, the data, the plan or the
                skips.
        """
        progress = Progress()
        if (newest := self.newest()) is not None:
            path, manifest = newest
            progress = manifest.progress
            model, tokenizer = self._engine.module.config, self._dataset.manifest.tokenizer.sha256
            permitted = require_same_model(path, manifest, self._config, model, tokenizer)
            self._require_same_data(path, manifest)
            self._require_same_schedule(path, progress, plan)
            restore_skips(self._config.run_dir, manifest.skips)
            self.load(path, manifest)
            logger.info(f"continuing from {path}: step {progress.step}, {progress.packs:,} packs consumed")
            for change in permitted:
                logger.warning(f"changed, as allow_changed permits: {change}. {path} is kept")
            for change in differences(manifest.config, self._config.model_dump(mode="json")):
                logger.info(f"changed since this checkpoint: {change}")
        self._attempt = begin_attempt(self._config.run_dir, progress.step)
        self.skips = read_skips(self._config.run_dir)
        if self._config.checkpoint.upload and dist.get_rank() == 0:
            self._mirror = Mirror(self._directory, self._config.checkpoint.upload)
        return progress

    def newest(self) -> tuple[Path, CheckpointManifest] | None:
        """The newest intact checkpoint, on this disk or in the run's object store; None if the run has none.

        Raises:
            UserError: all checkpoints are corrupt, or the disk has none and the store cannot be read.
        """
        if self._config.checkpoint.upload and dist.get_rank() == 0:
            download_newest(self._config.checkpoint.upload, self._directory)
        path, corrupt = save_load.newest_complete(self._directory)
        for problem in corrupt:
            logger.warning(f"skipping a corrupt checkpoint: {problem}")
        return None if path is None else (path, read_manifest(path))

    def load(self, checkpoint: Path, manifest: CheckpointManifest) -> None:
        """Restore weights, optimizer state and loss scaling."""
        save_load.load(self._engine, checkpoint, manifest)
        restore_scaling(self._engine, manifest.scaling)

    def save(self, progress: Progress, validation_loss: float | None = None) -> Path:
        """Write a checkpoint, queue it for upload, and remove those that are not to be kept.

        Args:
            validation_loss: mean over sources, if it was measured at this step.
        """
        started = perf_counter()
        attempt = self._begun()

        def describe(written: dict[str, FileEntry]) -> CheckpointManifest:
            return self._manifest(written, progress, attempt, validation_loss)

        path = save_load.save(self._engine, self._directory, progress.step, attempt, describe)
        if self._mirror is not None:
            self._mirror.add(path)
        self.prune(progress.step)
        logger.info(f"checkpoint {path}, {perf_counter() - started:.2f} s")
        return path

    def prune(self, newest_step: int) -> None:
        """Remove the checkpoints that the configuration does not keep.

        Args:
            newest_step: step of the newest complete checkpoint.
        """
        if dist.get_rank() == 0 and not self.superseded():
            keep = self._config.checkpoint
            files.prune(self._directory, keep.keep_last, keep.keep_every_steps, keep.keep_best, newest_step)
        dist.barrier()

    def superseded(self) -> bool:
        """Whether a newer attempt owns the run."""
        return self._begun().superseded()

    def close(self) -> None:
        """Wait until queued checkpoints are in the object store."""
        if self._mirror is not None:
            self._mirror.close()

    def _begun(self) -> Attempt:
        assert self._attempt is not None, "resume() begins the attempt"
        return self._attempt

    def _require_same_data(self, path: Path, manifest: CheckpointManifest) -> None:
        if changed := differences(manifest.data, json.loads(json.dumps(self._dataset.identity()))):
            raise UserError(
                f"{path}: the data changed since this checkpoint, so its order cannot be continued: "
                f"{'; '.join(changed)}. Restore what changed, or start in another run_dir"
            )

    def _require_same_schedule(self, path: Path, progress: Progress, plan: Plan) -> None:
        if progress.packs != (planned := plan.start(progress.step)):
            raise UserError(
                f"{path}: {progress.packs:,} packs were consumed in its {progress.step:,} steps, but the batch section "
                f"now plans {planned:,}: restore it, or start in another run_dir"
            )
        if progress.step > plan.steps:
            raise UserError(
                f"{self._config.run_dir}: {progress.step:,} steps are completed, but schedule.total_tokens is enough "
                f"for {plan.steps:,} only: raise it, or start in another run_dir"
            )

    def _manifest(
        self, written: dict[str, FileEntry], progress: Progress, attempt: Attempt, validation_loss: float | None
    ) -> CheckpointManifest:
        dataset, origin = self._dataset, provenance()
        return CheckpointManifest(
            step=progress.step,
            world_size=dist.get_world_size(),
            optimizer_step=save_load.optimizer_step(self._engine),
            files=written,
            progress=progress,
            attempt=attempt.number,
            scaling=scaling_state(self._engine),
            model=self._engine.module.config,
            tokenizer=dataset.manifest.tokenizer.sha256 or None,
            data=dataset.identity(),
            skips=tuple(self.skips),
            data_manifest=manifest_hash(dataset.manifest),
            data_address=dataset.address,
            sources={
                name: SourceTerms.model_validate(dataset.manifest.sources[name], from_attributes=True)
                for name in dataset.sources
            },
            config=self._config.model_dump(mode="json"),
            python=origin.python,
            packages=origin.packages,
            git_revision=origin.git_revision,
            validation_loss=validation_loss,
        )
