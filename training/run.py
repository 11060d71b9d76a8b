"""A run as one rank holds it: opened once, the same from the first step to the last."""

import json
from collections.abc import Sequence
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
from ..streaming_data.loader.dataset import PackDataset, copy_tokenizer, open_dataset, read_tokenizer
from ..streaming_data.loader.mix import describe_mix, plan_mix
from .checkpoint.attempts import Attempt, begin
from .checkpoint.mirror import Mirror
from .metrics.profiling import StepProfiler
from .metrics.writer import MetricsWriter
from .progress import Progress, resume
from .recipe.config import RunConfig
from .recipe.schedule import Plan, describe, make_plan
from .resilience.spikes import Skip, place, read_skips
from .zero.engine import join_ranks, start_engine


@dataclass(frozen=True)
class Run:
    """What a run is made with.

    Attributes:
        dataset: packs to train on.
        validation: held-out packs to be scored by, if the recipe asks for it.
        attempt: this start of the run.
        skips: what the run leaves out after jumps of the loss.
        metrics: on rank 0, which speaks for the run; None on the others.
        mirror: on rank 0, if checkpoints are copied away.
    """

    config: RunConfig
    rank: int
    device: torch.device
    plan: Plan
    dataset: PackDataset
    validation: PackDataset | None
    engine: Any
    attempt: Attempt
    skips: list[Skip]
    profiler: StepProfiler
    metrics: MetricsWriter | None
    mirror: Mirror | None

    def due(self, every_steps: int, step: int) -> bool:
        """Whether what happens every so many steps, and at the end, happens after step `step`; every 0 is never."""
        return every_steps > 0 and (step % every_steps == 0 or step == self.plan.steps)

    def say(self, message: str) -> None:
        """A line for the person watching, from rank 0 alone."""
        if self.metrics is not None:
            self.metrics.say(message)

    def close(self) -> None:
        """Everything on disk and in the object store."""
        if self.mirror is not None:
            self.mirror.close()
        if self.metrics is not None:
            self.metrics.close()


def open_run(config: RunConfig) -> tuple[Run, Progress]:
    """Everything that the recipe names, and where the run stands; every rank calls it."""
    rank, world_size, device = join_ranks(config.engine.timeout_minutes)
    plan = make_plan(config, world_size)
    dataset = open_dataset(config.data, config.seed)
    validation = open_validation(config) if config.validation.every_steps else None
    model = build_model(config, dataset)
    engine = start_engine(model, config.engine, config.optimizer, config.batch.micro_batch_size, device)
    progress = resume(engine, config, dataset, plan.steps)
    attempt = begin(config.run_dir, progress.step)
    skips = read_skips(config.run_dir)
    metrics = open_metrics(config, plan, dataset, progress, skips) if rank == 0 else None
    run = Run(
        config=config,
        rank=rank,
        device=device,
        plan=plan,
        dataset=dataset,
        validation=validation,
        engine=engine,
        attempt=attempt,
        skips=skips,
        profiler=StepProfiler(config.profile if rank == 0 else None, config.run_dir),
        metrics=metrics,
        mirror=open_mirror(config, metrics),
    )
    return run, progress


def open_validation(config: RunConfig) -> PackDataset:
    """The held-out packs of every source, whatever its share in training and whatever is masked there."""
    always = {"weights": None, "max_epochs": None, "masking": "token"}
    return open_dataset(config.data.model_copy(update=always), config.seed, "held_out")


def build_model(config: RunConfig, dataset: PackDataset) -> MaskedLM:
    """The model that the run starts from: imported, or initialised from the seed."""
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
    """The data must be tokens of the model that is continued, if that has its tokenizer beside it."""
    path = model / "tokenizer.json"
    if path.is_file() and _tokens(read_json(path)) != _tokens(json.loads(read_tokenizer(dataset.address))):
        raise UserError(
            f"{dataset.address} was prepared with another tokenizer than that of {model}: every token would mean "
            f"something else. Prepare the same sources again with `tokenizer: {model}`, or continue from the directory "
            "that `cmbert tokenizer extend` wrote"
        )


def _tokens(tokenizer: dict[str, Any]) -> tuple[Any, dict[int, str]]:
    """Of a tokenizer.json."""
    added = tokenizer.get("added_tokens", [])
    return tokenizer.get("model", {}).get("vocab"), {token["id"]: token["content"] for token in added}


def require_fitting_tokenizer(model: ModelConfig, dataset: PackDataset) -> None:
    """The data must have been tokenised for this model."""
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


def open_metrics(
    config: RunConfig, plan: Plan, dataset: PackDataset, progress: Progress, skips: Sequence[Skip]
) -> MetricsWriter:
    """Rank 0's side of the run directory; prints the plan."""
    (config.run_dir / "config.yaml").write_text(dump(config))
    copy_tokenizer(dataset.address, config.run_dir / "tokenizer")
    for line in plan_lines(plan, dataset, skips):
        print(line, flush=True)
    return MetricsWriter(config.run_dir, progress.step, plan.steps, config.metrics)


def plan_lines(plan: Plan, dataset: PackDataset, skips: Sequence[Skip] = ()) -> list[str]:
    """All that a run will do, as the lines that are printed before step 1."""
    return [*describe(plan), *describe_mix(plan_mix(dataset, place(skips, plan.packs)))]


def open_mirror(config: RunConfig, metrics: MetricsWriter | None) -> Mirror | None:
    """Of the checkpoints, on the rank that speaks for the run."""
    if config.checkpoint.upload is None or metrics is None:
        return None
    return Mirror(config.run_dir / "checkpoints", config.checkpoint.upload, metrics.say)
