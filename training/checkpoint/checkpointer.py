"""The checkpoints of one run, as the training loop uses them."""

import json
import logging
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

import torch.distributed as dist

from ...configs.errors import UserError
from ...model.origin import WeightsOrigin
from ...storage.background import Background
from ...streaming_data.loader.dataset import PackDataset
from ...streaming_data.shards.manifest import manifest_hash
from ..nodes.disks import disk_leaders, require_shared
from ..nodes.node import Node, from_first, join_node
from ..recipe.config import RunConfig
from ..recipe.provenance import provenance
from ..recipe.schedule import Plan
from ..recipe.start import initial_origin, initial_sources
from ..resilience.skips import Skip, read_skips, restore_skips
from ..zero.loss_scaling import ScalingState, restore_scaling, scaling_state
from . import files, save_load
from .attempts import Attempt, begin_attempt
from .compatibility import differences, recorded_optimizer, require_same_model
from .kept import agree_on_newest, prune_kept
from .manifest import CheckpointManifest, SourceTerms, Written, read_manifest
from .mirror import Mirror
from .names import StoredName, new_attempt_name
from .progress import Progress
from .snapshot import Snapshot, copy_to_host
from .stored import download_newest

logger = logging.getLogger(__name__)


class Checkpointer:
    """Resumes a run, saves its checkpoints, removes old ones, and copies them to an object store if configured.

    Every rank has one, and every method is called by all ranks, `resume` first. It is a context manager, which waits on
    exit until the last save is on the disk, whatever ended the training.

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
        self._node: Node | None = None
        self._initial_sources: dict[str, SourceTerms] = {}
        self._origin: WeightsOrigin | None = None
        self._stored_as: str | None = None
        self._snapshot: Snapshot | None = None
        self._saving: Future[None] | None = None
        self._background = Background("checkpoint")

    def resume(self, plan: Plan) -> Progress:
        """Continue from the newest checkpoint, if there is one, and take over the run from earlier attempts.

        Raises:
            UserError: all checkpoints are corrupt, or the newest does not fit the model, the data, the plan or the
                skips; or the ranks share neither `run_dir` nor an object store.
        """
        self._find_disks()
        progress, before = Progress(), initial_sources(self._config)
        self._initial_sources = {name: SourceTerms.model_validate(source) for name, source in before.items()}
        self._origin = initial_origin(self._config)
        if (newest := self.newest()) is not None:
            path, manifest = newest
            progress = manifest.progress
            # The directory of the initial weights may be gone by now.
            self._initial_sources = {**manifest.initial_sources, **self._initial_sources}
            self._origin = manifest.initial_weights or self._origin
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
        if self._config.checkpoint.upload and dist.get_rank() == 0 and self._stored_as is None:
            self._mirror = Mirror(self._directory, self._config.checkpoint.upload)
        return progress

    def newest(self) -> tuple[Path, CheckpointManifest] | None:
        """The newest intact checkpoint, on this disk or in the run's object store; None if the run has none.

        Raises:
            UserError: all checkpoints are corrupt, or the disk has none and the store cannot be read.
        """
        if self._stored_as is not None:
            needed = partial(save_load.files_to_load, self._engine)
            stored = agree_on_newest(self._upload_url(), self._directory, needed, self._joined())
            return None if stored is None else (stored, read_manifest(stored))
        if self._config.checkpoint.upload and dist.get_rank() == 0:
            download_newest(self._config.checkpoint.upload, self._directory)
        path, corrupt = save_load.newest_complete(self._directory)
        for problem in corrupt:
            logger.warning(f"skipping a corrupt checkpoint: {problem}")
        return None if path is None else (path, read_manifest(path))

    def load(self, checkpoint: Path, manifest: CheckpointManifest) -> None:
        """Restore weights, optimizer state and loss scaling.

        If another optimizer wrote the checkpoint, its state is left out: the names and the meaning of what it holds are
        its own, and those of its tensors that have the same name would be taken for something else.
        """
        before, now = recorded_optimizer(manifest), self._config.optimizer.name
        if not (same := before in (now, None)):
            logger.warning(f"the state of optimizer {before} is not used: {now} starts with a new one, at its step 1")
        save_load.load(self._engine, checkpoint, manifest, optimizer_state=same)
        restore_scaling(self._engine, manifest.scaling)

    def save(self, progress: Progress, validation_loss: float | None = None) -> None:
        """Copy the state, and begin to write it as a checkpoint. Training may continue on return.

        One save is in flight at a time: this waits for the one before.

        Args:
            validation_loss: mean over sources, if it was measured at this step.
        Raises:
            UserError: the save before failed; see `save_load.save`.
        """
        started = perf_counter()
        self.wait()
        attempt, scaling, updates = self._begun(), scaling_state(self._engine), save_load.optimizer_step(self._engine)
        self._snapshot, node = copy_to_host(self._engine, self._snapshot), self._joined()
        stall = perf_counter() - started

        def describe(written: Written) -> CheckpointManifest:
            return self._manifest(written, progress, attempt, validation_loss, scaling, updates)

        def write(snapshot: Snapshot) -> None:
            name, address = files.directory_name(progress.step), None
            if self._stored_as is not None:
                address = f"{self._upload_url()}/{StoredName(progress.step, self._stored_as)}"
            save_load.save(snapshot, self._directory, progress.step, attempt, describe, node, address)
            if self._mirror is not None:
                self._mirror.add(self._directory / name)
            self.prune(progress.step)
            logger.info(
                f"checkpoint {address or self._directory / name}, written in {perf_counter() - started:.2f} s, "
                f"training waited {stall:.2f} s"
            )

        self._saving = self._background.submit(write, self._snapshot)

    def failed(self) -> bool:
        """Whether the save in flight has failed on this rank. The next `wait` or `save` raises its error."""
        return self._saving is not None and self._saving.done() and self._saving.exception() is not None

    def wait(self) -> None:
        """Wait until the last save is complete.

        Raises:
            UserError: it failed; see `save_load.save`.
        """
        if self._saving is not None:
            saving, self._saving = self._saving, None
            saving.result()

    def prune(self, newest_step: int) -> None:
        """Remove the checkpoints that the configuration does not keep. Called in the background.

        Args:
            newest_step: step of the newest complete checkpoint.
        """
        if self._joined().leads_disk and not self.superseded():
            keep = self._config.checkpoint
            files.prune(self._directory, keep.keep_last, keep.keep_every_steps, keep.keep_best, newest_step)
            prune_kept(self._directory, keep.keep_last if self._stored_as else 0, newest_step)
        # Pruning also removes staging directories, so no rank may begin the next one before.
        dist.barrier(self._joined().everyone)

    def superseded(self) -> bool:
        """Whether rank 0 sees that a newer attempt owns the run; False on other ranks, whose disk may be another."""
        return dist.get_rank() == 0 and self._begun().superseded()

    def hosts(self) -> tuple[str, ...]:
        """The machine of each rank of this attempt."""
        return self._begun().hosts

    def attempt_file(self) -> Path:
        """The file of this attempt, on rank 0's disk."""
        return self._begun().file

    def close(self) -> None:
        """Wait until the last save is complete, and queued checkpoints are in the object store."""
        self.wait()
        if self._mirror is not None:
            self._mirror.close()

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, Exception):
            return  # a second Ctrl-C does not wait
        try:
            self.wait()
        except Exception as failure:
            if kind is None:
                raise
            logger.warning(f"the last checkpoint was not completed: {failure}")

    def _find_disks(self) -> None:
        """Find out which ranks share `run_dir`, and which are on one node."""
        leaders = disk_leaders(self._config.run_dir / "attempts")
        # The background thread must not use the collectives of training, which run at the same time.
        self._node = join_node(leaders, timedelta(minutes=self._config.engine.timeout_minutes))
        if self._node.shared:
            return
        if not self._config.checkpoint.upload:
            require_shared(self._config.run_dir, leaders)
        self._stored_as = from_first(new_attempt_name())
        logger.info(
            f"{self._config.run_dir} is not shared: {len(set(leaders)):,} disks for {len(leaders):,} ranks. "
            f"Checkpoints are complete in {self._upload_url()} only; each disk keeps parts of them"
        )

    def _upload_url(self) -> str:
        return (self._config.checkpoint.upload or "").rstrip("/")

    def _begun(self) -> Attempt:
        assert self._attempt is not None, "resume() begins the attempt"
        return self._attempt

    def _joined(self) -> Node:
        assert self._node is not None, "resume() finds the nodes"
        return self._node

    def _require_same_data(self, path: Path, manifest: CheckpointManifest) -> None:
        self._dataset.continue_order(manifest.data)
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
        self,
        written: Written,
        progress: Progress,
        attempt: Attempt,
        validation_loss: float | None,
        scaling: ScalingState,
        updates: int,
    ) -> CheckpointManifest:
        dataset, origin = self._dataset, provenance()
        return CheckpointManifest(
            step=progress.step,
            world_size=dist.get_world_size(),
            optimizer_step=updates,
            files=written.files,
            parameters=written.parameters,
            progress=progress,
            attempt=attempt.number,
            scaling=scaling,
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
            initial_sources=self._initial_sources,
            initial_weights=self._origin,
            config=self._config.model_dump(mode="json"),
            python=origin.python,
            packages=origin.packages,
            git_revision=origin.git_revision,
            validation_loss=validation_loss,
        )
