"""What a run consists of, opened once from its configuration."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..configs.errors import UserError
from ..configs.loader.load import dump
from ..model.config import ModelConfig
from ..model.hugging_face import from_pretrained
from ..model.hugging_face_config import read_json
from ..model.initialize import initialize
from ..model.masked_lm import MaskedLM
from ..streaming_data.loader.batches import MicroBatch, StepData, load
from ..streaming_data.loader.config import DataConfig
from ..streaming_data.loader.dataset import PackDataset, copy_tokenizer, open_dataset, read_tokenizer
from ..streaming_data.loader.mix import describe_mix, plan_mix
from .checkpoint.checkpointer import Checkpointer
from .checkpoint.progress import Progress
from .metrics.profiling import StepProfiler
from .metrics.writer import MetricsWriter
from .recipe.config import RunConfig
from .recipe.schedule import Plan, StepSettings, describe, make_plan
from .resilience.skips import Skip, order_offset
from .zero.engine import join_ranks, start_engine

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """The components of a run on one rank. They stay the same from the first step to the last.

    Attributes:
        dataset: packs to train on.
        validation: held-out packs, if the recipe configures validation.
        profiler: records steps on rank 0.
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

    def due(self, every_steps: int, step: int) -> bool:
        """Whether something that happens every `every_steps` steps and at the end happens after `step`; 0 is never."""
        return every_steps > 0 and (step % every_steps == 0 or step == self.plan.steps)

    def describe_step(self, settings: StepSettings) -> str:
        """The step and its packs, for error messages."""
        start = order_offset(self.checkpointer.skips, settings.start)
        packs = self.dataset.order.between(start, start + settings.packs)
        names = ", ".join(f"{self.dataset.sources[p.source]}:{p.epoch}:{p.pack}" for p in packs)
        return f"step {settings.step + 1} (source:epoch:pack {names})"


def open_run(config: RunConfig) -> Run:
    """Open everything that the recipe names. Every rank calls it.

    Raises:
        UserError: the recipe does not fit the ranks, the data or the model to continue.
    """
    rank, world_size, device = join_ranks(config.engine.timeout_minutes)
    plan = make_plan(config, world_size)
    dataset = open_dataset(config.data, config.seed)
    validation = open_validation(config.data, config.seed) if config.validation.every_steps else None
    model = build_model(config, dataset)
    engine = start_engine(model, config.engine, config.optimizer, config.batch.micro_batch_size, device)
    return Run(
        config=config,
        rank=rank,
        device=device,
        plan=plan,
        dataset=dataset,
        validation=validation,
        engine=engine,
        checkpointer=Checkpointer(engine, config, dataset),
        profiler=StepProfiler(config.profile if rank == 0 else None, config.run_dir),
    )


def open_validation(config: DataConfig, seed: int) -> PackDataset:
    """The held-out packs of every source, independent of its share in training and of the masking strategy there."""
    always = {"weights": None, "max_epochs": None, "masking": "token"}
    return open_dataset(config.model_copy(update=always), seed, "held_out")


def build_model(config: RunConfig, dataset: PackDataset) -> MaskedLM:
    """The model that the run starts from: imported, or initialized from the seed.

    Raises:
        UserError: the data was tokenized for another model.
    """
    if config.initial_weights is not None:
        require_same_tokenizer(config.initial_weights, dataset)
        model = from_pretrained(config.initial_weights)
    else:
        assert config.model is not None
        model = MaskedLM(config.model)
        initialize(model, config.seed)
    require_fitting_tokenizer(model.config, dataset)
    model.model.activation_checkpointing = config.engine.activation_checkpointing
    return model


def require_same_tokenizer(model: Path, dataset: PackDataset) -> None:
    """Require that the data was tokenized with the tokenizer in the model's directory, if it has one.

    Raises:
        UserError: it was not.
    """
    path = model / "tokenizer.json"
    if path.is_file() and _tokens(read_json(path)) != _tokens(json.loads(read_tokenizer(dataset.address))):
        raise UserError(
            f"{dataset.address} was prepared with another tokenizer than that of {model}: every token would mean "
            f"something else. Prepare the same sources again with `tokenizer: {model}`, or continue from the directory "
            "that `cmbert tokenizer extend` wrote"
        )


def _tokens(tokenizer: dict[str, Any]) -> tuple[Any, dict[int, str]]:
    """The vocabulary and the added tokens of a tokenizer.json."""
    added = tokenizer.get("added_tokens", [])
    return tokenizer.get("model", {}).get("vocab"), {token["id"]: token["content"] for token in added}


def require_fitting_tokenizer(model: ModelConfig, dataset: PackDataset) -> None:
    """Require that the model's token ids and vocabulary size fit the data's tokenizer.

    Raises:
        UserError: they do not.
    """
    tokenizer = dataset.manifest.tokenizer
    special = tokenizer.special_ids
    expected = {f"{name}_token_id": getattr(special, name) for name in ("pad", "cls", "sep")}
    wrong = [
        f"{key} is {getattr(model, key)}, not {value}"
        for key, value in expected.items()
        if getattr(model, key) != value
    ]
    if model.vocab_size < tokenizer.vocab_size:
        wrong.append(f"vocab_size is {model.vocab_size:,}, below {tokenizer.vocab_size:,}")
    if wrong:
        raise UserError(
            f"the model does not fit the tokenizer of {dataset.address}: {'; '.join(wrong)}. From scratch, set these "
            "keys of the model section; to continue a model, prepare the data with that model's own tokenizer"
        )


def open_batches(run: Run, step: int) -> Iterator[Sequence[MicroBatch]]:
    """This rank's micro-batches of every step from `step` on, prepared ahead."""
    skips = run.checkpointer.skips
    data = (
        StepData(order_offset(skips, s.start), s.packs, s.max_seqlen, s.mlm_probability)
        for s in run.plan.from_step(step)
    )
    return load(run.dataset, data, run.config.batch.micro_batch_size, run.rank, run.plan.world_size)


def open_metrics(run: Run, progress: Progress) -> MetricsWriter | None:
    """Write the run's configuration and tokenizer, log the plan, and open its metrics; None on ranks other than 0."""
    if run.rank != 0:
        return None
    config = run.config
    (config.run_dir / "config.yaml").write_text(dump(config))
    copy_tokenizer(run.dataset.address, config.run_dir / "tokenizer")
    for line in plan_lines(run.plan, run.dataset, run.checkpointer.skips):
        logger.info(line)
    return MetricsWriter(config.run_dir, progress.step, run.plan.steps, config.metrics, run.plan.start)


def plan_lines(plan: Plan, dataset: PackDataset, skips: Sequence[Skip] = ()) -> list[str]:
    """Everything that a run will do, as the lines that are logged before step 1."""
    return [*describe(plan), *describe_mix(plan_mix(dataset, order_offset(skips, plan.packs)))]
