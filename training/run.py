"""What a run consists of, opened once from its configuration."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ..configs.errors import UserError
from ..configs.loader.load import dump
from ..kernels.attention.dispatch import explain_backends
from ..model.hugging_face import assemble
from ..model.initialize import initialize
from ..model.masked_lm import MaskedLM
from ..storage import hub
from ..storage.files import as_user_error, atomic_write
from ..streaming_data.loader.batches import StepData, load_ahead
from ..streaming_data.loader.dataset import PackDataset, copy_tokenizer, open_dataset
from ..streaming_data.loader.lane_count import describe_order
from ..streaming_data.loader.mix import describe_mix, plan_mix
from .checkpoint.checkpointer import Checkpointer
from .checkpoint.progress import Progress
from .copies import StagedMicroBatch, stage
from .metrics.profiling import StepProfiler
from .metrics.writer import MetricsWriter
from .nodes.node import from_first
from .planning.hardware import memory_and_nodes
from .planning.stage import choose_stage
from .recipe.config import RunConfig
from .recipe.engine_config import EngineConfig
from .recipe.limits import require_fit, require_masked_tokens
from .recipe.schedule import Plan, StepSettings, describe, make_plan
from .recipe.start import adopt_token_ids, open_initial, open_validation, share_run_unless_restricted, starting_model
from .resilience.skips import Skip, order_offset
from .resilience.step_agreement import host_group
from .resilience.watchdog import Watchdog
from .zero.engine import join_ranks, start_engine
from .zero.running_average import keep_running_average

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """The components of a run on one rank. They stay the same from the first step to the last.

    Attributes:
        dataset: packs to train on.
        validation: held-out packs, if the recipe configures validation.
        profiler: records steps on rank 0.
        hosts: the process group of the exchange before each step.
        watchdog: knows where the rank is, and how long it may be there.
    """

    config: RunConfig
    rank: int
    device: torch.device
    plan: Plan
    dataset: PackDataset
    validation: PackDataset | None
    engine: Any
    checkpointer: Checkpointer
    profiler: StepProfiler
    hosts: dist.ProcessGroup
    watchdog: Watchdog

    def due(self, every_steps: int, step: int) -> bool:
        """Whether something that happens every `every_steps` steps and at the end happens after `step`; 0 is never."""
        return every_steps > 0 and (step % every_steps == 0 or step == self.plan.steps)

    def describe_step(self, settings: StepSettings) -> str:
        """The step and its packs, for error messages."""
        start = order_offset(self.checkpointer.skips, settings.start)
        packs = self.dataset.order.between(start, start + settings.packs)
        names = ", ".join(f"{self.dataset.sources[p.source]}:{p.epoch}:{p.pack}" for p in packs)
        return f"step {settings.step + 1} (source:epoch:pack {names})"


def open_run(config: RunConfig, watchdog: Watchdog) -> Run:
    """Open everything that the recipe names. Every rank calls it.

    Raises:
        UserError: the recipe does not fit the ranks, the data or the model to continue.
    """
    rank, world_size, device = join_ranks(config.engine.timeout_minutes)
    config = pin_revision(config)
    plan = make_plan(config, world_size)
    require_masked_tokens(plan)
    dataset = open_dataset(config.data, config.seed, packs_per_step=config.batch.global_batch_size)
    share_run_unless_restricted(config, dataset.manifest)
    validation = open_validation(config.data, config.seed) if config.validation.every_steps else None
    model = build_model(config, dataset)
    for line in attention_lines(config.engine, model, device):
        logger.info(line)
    chosen = choose_stage(model.config, config.engine, plan, *memory_and_nodes(device))
    logger.info(chosen.reason)
    engine = start_engine(model, chosen.engine, config.optimizer, config.batch.micro_batch_size, device)
    if config.running_average is not None:
        keep_running_average(engine, config.running_average.decay)
    return Run(
        config=config,
        rank=rank,
        device=device,
        plan=plan,
        dataset=dataset,
        validation=validation,
        engine=engine,
        checkpointer=Checkpointer(engine, config.model_copy(update={"engine": chosen.engine}), dataset),
        profiler=StepProfiler(config.profile if rank == 0 else None, config.run_dir),
        hosts=host_group(config.engine.timeout_minutes),
        watchdog=watchdog,
    )


def pin_revision(config: RunConfig) -> RunConfig:
    """The recipe with the commit of a model on the Hub, so that all ranks have the same and the checkpoints name it.

    Raises:
        UserError: it cannot be fetched.
    """
    if config.initial_weights is None or not hub.is_hub_name(config.initial_weights):
        return config
    address = problem = ""
    if dist.get_rank() == 0:
        try:
            address = hub.fetch(config.initial_weights).address
        except UserError as error:
            problem = str(error)
    address, problem = from_first((address, problem))
    if problem:
        raise UserError(problem)
    return config.model_copy(update={"initial_weights": Path(address)})


def build_model(config: RunConfig, dataset: PackDataset) -> MaskedLM:
    """The model that the run starts from: imported, or initialized from the seed.

    Raises:
        UserError: the data was tokenized for another model, or has longer sequences than the model allows.
    """
    architecture = starting_model(config)
    require_fit(config, architecture, dataset)
    if (start := open_initial(config)) is not None:
        for warning in start.parsed.warnings:
            logger.warning(f"{start.address}: {warning}")
        weights = start.read(config.seed if config.new_head else None)
        model = assemble(adopt_token_ids(architecture, start, dataset.manifest.tokenizer.special_ids), weights)
    else:
        assert config.model is not None
        model = MaskedLM(config.model)
        initialize(model, config.seed)
    model.model.activation_checkpointing = config.engine.activation_checkpointing
    model.model.attention_backend = config.engine.attention_backend
    model.model.deterministic_attention = config.engine.deterministic_attention
    return model


def attention_lines(engine: EngineConfig, model: MaskedLM, device: torch.device) -> list[str]:
    """Which backend computes attention in which layers, and why, as the lines that are logged before step 1.

    Raises:
        UserError: the backend that the recipe names is unavailable here.
    """
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[engine.precision]
    backend, deterministic = engine.attention_backend, engine.deterministic_attention
    try:
        lines = explain_backends(device, dtype, model.config.head_dim, backend, deterministic)
    except ValueError as error:
        raise UserError(f"engine.attention_backend={backend}: {error}; set engine.attention_backend=auto") from error
    return [f"attention of {line}" for line in lines]


def open_batches(run: Run, step: int) -> Iterator[Future[list[StagedMicroBatch]]]:
    """This rank's micro-batches of every step from `step` on, prepared ahead."""
    skips = run.checkpointer.skips
    data = (
        StepData(order_offset(skips, s.start), s.packs, s.max_seqlen, s.mlm_probability, s.objective)
        for s in run.plan.from_step(step)
    )
    size, for_device = run.config.batch.micro_batch_size, partial(stage, device=run.device)
    return load_ahead(run.dataset, data, size, for_device, run.rank, run.plan.world_size)


def directory_check(run: Run) -> Callable[[], bool]:
    """A function that returns whether the run's directory was moved or removed since now, on rank 0.

    The directory is recognized by the file of this attempt: another start of the run writes a file of its own, and
    whoever creates the directory anew, none.
    """
    if run.rank != 0:
        return lambda: False
    attempt = run.checkpointer.attempt_file()
    begun = _written(attempt)
    return lambda: _written(attempt) != begun


def _written(path: Path) -> tuple[int, int] | None:
    """Time of writing and size of a file; None if there is none."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_mtime_ns, status.st_size


def open_metrics(run: Run, progress: Progress) -> MetricsWriter | None:
    """Write the run's configuration and tokenizer, log the plan, and open its metrics; None on ranks other than 0.

    Raises:
        UserError: the run's directory, or a file in it, cannot be written, or its metrics are not as a run wrote them.
    """
    if run.rank != 0:
        return None
    config, hosts = run.config, run.checkpointer.hosts()
    try:
        atomic_write(config.run_dir / "config.yaml", dump(config))
        copy_tokenizer(run.dataset.address, config.run_dir / "tokenizer")
        for line in plan_lines(run.plan, run.dataset, run.checkpointer.skips):
            logger.info(line)
        return MetricsWriter(config.run_dir, progress.step, run.plan.steps, config.metrics, run.plan.start, hosts=hosts)
    except OSError as error:
        if (user_error := as_user_error(error)) is None:
            raise
        raise user_error from error


def plan_lines(plan: Plan, dataset: PackDataset, skips: Sequence[Skip] = ()) -> list[str]:
    """Everything that a run will do, as the lines that are logged before step 1."""
    return [
        *describe(plan),
        describe_order(dataset.order, dataset.readers, plan.batch.global_batch_size),
        *describe_mix(plan_mix(dataset, order_offset(skips, plan.packs))),
    ]
