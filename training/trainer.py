"""The training run, from its configuration to its last checkpoint."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch
import torch.distributed as dist

from ..configs.errors import UserError
from ..configs.loader import dump
from ..model.config import ModelConfig
from ..model.hugging_face import from_pretrained
from ..model.initialize import initialize
from ..model.masked_lm import MaskedLM
from ..streaming_data.batches import StepData, load
from ..streaming_data.dataset import PackDataset, copy_tokenizer, open_dataset
from ..streaming_data.mix import describe_mix, plan_mix
from .attempts import Attempt, begin
from .config import RunConfig
from .engine import join_ranks, set_learning_rate, start_engine
from .finite import count_skipped, gradient_norm, loss_scale
from .flops import step_flops
from .hardware import device_name, peak_flops, peak_memory
from .held_out import evaluate
from .lockstep import Agreement, agree
from .metrics import MetricsWriter, MixMetrics, StepMetrics
from .mirror import Mirror
from .objective import accumulate, digest
from .profiling import StepProfiler
from .progress import Progress, resume, save
from .rehearsal import rehearse
from .schedule import Plan, StepSettings, describe, make_plan
from .signals import StopRequest
from .spikes import Skip, SpikeWatch, place, read_skips, rewind
from .watchdog import expect_progress_within

STOPPED = 85
"""Exit code of a run that was asked to stop, has saved a checkpoint, and wants to be started again."""


def train(config: RunConfig, stop: StopRequest) -> int:
    """Train, or continue where the newest checkpoint in `run_dir` stands. Every rank calls it.

    Returns:
        The exit code: 0 when the run is complete, 85 when it was asked to stop and should be started again.
    Raises:
        LossSpikeError: the loss jumped; the next start goes on from the last checkpoint without what was read since.
        UserError: the configuration, the data or the checkpoints do not allow it.
    """
    expect_progress_within(config.engine.step_timeout_minutes)
    rank, world_size, device = join_ranks(config.engine.timeout_minutes)
    plan = make_plan(config, world_size)
    dataset = open_dataset(config.data, config.seed)
    held_out = open_held_out(config) if config.held_out.every_steps else None
    model = build_model(config, dataset)
    engine = start_engine(model, config.engine, config.optimizer, config.batch.micro_packs, device)
    progress = resume(engine, config, dataset)
    attempt = begin(config.run_dir, progress.step)
    profiler = StepProfiler(config.profile if rank == 0 else None, config.run_dir)
    metrics = open_metrics(config, plan, dataset, progress) if rank == 0 else None
    mirror = open_mirror(config, metrics)
    if config.rehearse or (config.rehearse is None and device.type == "cuda"):
        rehearse(engine, plan, progress.step)

    skips = read_skips(config.run_dir)
    spikes = SpikeWatch(config.spikes)
    saved_packs = progress.packs
    skipped = 0
    batches = load(dataset, step_data(plan, skips, progress.step), config.batch.micro_packs, rank, world_size)
    for settings in plan.from_step(progress.step):
        expect_progress_within(config.engine.step_timeout_minutes)
        profiler.before(settings.step + 1)
        timer = Timer()
        micro_batches = next(batches)
        timer.data_is_here()
        agreed = agree(
            settings.step, micro_batches, len(dataset.sources), device,
            stop=stop.requested, superseded=attempt.superseded(),
        )  # fmt: skip
        require_ownership(agreed, attempt)
        if agreed.stop:
            save(engine, config, dataset, progress, attempt, mirror)
            break

        totals = accumulate(engine, micro_batches, agreed.masked, config.seed)
        set_learning_rate(engine, settings.lr)
        engine.step()
        skipped = count_skipped(engine, config.engine, skipped, partial(describe_packs, dataset, skips, settings))
        if skipped and metrics is not None:
            metrics.say(f"step {settings.step + 1} skipped: fp16 overflowed, loss scale {loss_scale(engine):,.0f}")
        progress = progress.after(settings.packs, dict(zip(dataset.sources, agreed.source_tokens, strict=True)))

        profiler.after(progress.step)
        last = progress.step == plan.steps
        if last or progress.step % config.metrics.every_steps == 0:
            work = step_flops(engine.module.config, micro_batches)
            sums = summed(totals, digest(micro_batches), work)
            row = step_metrics(engine, settings, progress, agreed, sums, timer, config.engine.precision)
            if metrics is not None:
                metrics.write(row)
                metrics.write_mix(mix_metrics(dataset, progress))
            if spikes.jumps(row.loss):
                rewind(config, skips, Skip(saved_packs, progress.packs - saved_packs), row.step)
        held_out_loss = None
        if held_out is not None and (last or progress.step % config.held_out.every_steps == 0):
            scores = list(evaluate(engine, held_out, config.held_out.packs, progress.step))
            held_out_loss = fmean(score.loss for score in scores)
            if metrics is not None:
                metrics.write_held_out(scores)
        if last or progress.step % config.checkpoint.every_steps == 0:
            path = save(engine, config, dataset, progress, attempt, mirror, held_out_loss)
            saved_packs = progress.packs
            if metrics is not None:
                metrics.say(f"checkpoint {path}")
    expect_progress_within(0)
    if mirror is not None:
        mirror.close()
    if metrics is not None:
        metrics.close()
    return 0 if progress.step == plan.steps else STOPPED


def open_held_out(config: RunConfig) -> PackDataset:
    """The held-out packs of every source, whatever its share in training and whatever is masked there."""
    always = {"weights": None, "max_epochs": None, "masking": "token"}
    return open_dataset(config.data.model_copy(update=always), config.seed, "held_out")


class Timer:
    """Seconds of one step, and how many of them were spent waiting for data."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.data_wait = 0.0

    def data_is_here(self) -> None:
        self.data_wait = self.seconds()

    def seconds(self) -> float:
        return time.perf_counter() - self._started


def step_data(plan: Plan, skips: Sequence[Skip], step: int) -> Iterator[StepData]:
    """What the loader must know of each step from `step` on."""
    return (StepData(place(skips, s.start), s.packs, s.max_seqlen, s.mlm_probability) for s in plan.from_step(step))


def step_metrics(
    engine: Any,
    settings: StepSettings,
    progress: Progress,
    agreed: Agreement,
    sums: tuple[float, int, int, float],
    timer: Timer,
    precision: str,
) -> StepMetrics:
    """The row of one step, from sums over all ranks."""
    loss_sum, correct, digests, flops = sums
    seconds = timer.seconds()
    peak = peak_flops(device_name(engine.device), precision)
    return StepMetrics(
        step=progress.step,
        tokens=progress.tokens,
        loss=loss_sum / agreed.masked,
        accuracy=correct / agreed.masked,
        grad_norm=gradient_norm(engine),
        lr=settings.lr,
        mlm_probability=settings.mlm_probability,
        max_seqlen=settings.max_seqlen,
        masked=agreed.masked,
        tokens_per_second=sum(agreed.source_tokens) / seconds,
        flops=flops,
        mfu=flops / seconds / (peak * dist.get_world_size()) if peak else None,
        data_wait=timer.data_wait,
        data_wait_share=timer.data_wait / seconds,
        peak_memory=peak_memory(engine.device),
        loss_scale=loss_scale(engine),
        skipped_steps=engine.skipped_steps,
        data_digest=f"{digests:x}",
    )


def mix_metrics(dataset: PackDataset, progress: Progress) -> list[MixMetrics]:
    """The rows of one step: what was counted, beside what was planned."""
    planned = plan_mix(dataset, progress.packs)
    return [
        MixMetrics(
            step=progress.step,
            source=part.source,
            tokens=progress.source_tokens[part.source],
            share=progress.source_tokens[part.source] / progress.tokens,
            planned=part.share,
        )
        for part in planned
    ]


def plan_lines(plan: Plan, dataset: PackDataset) -> list[str]:
    """All that a run will do, as the lines that are printed before step 1."""
    return [*describe(plan), *describe_mix(plan_mix(dataset, plan.packs))]


def build_model(config: RunConfig, dataset: PackDataset) -> MaskedLM:
    """The model that the run starts from: imported, or initialised from the seed."""
    if config.initial_weights is not None:
        model = from_pretrained(config.initial_weights)
    else:
        assert config.model is not None
        model = MaskedLM(config.model)
        initialize(model, config.seed)
    require_fitting_tokenizer(model.config, dataset)
    model.model.activation_checkpointing = config.engine.activation_checkpointing
    return model


def require_fitting_tokenizer(model: ModelConfig, dataset: PackDataset) -> None:
    """The data must have been tokenised for this model."""
    tokenizer = dataset.manifest["tokenizer"]
    special = tokenizer["special_ids"]
    expected = {f"{name}_token_id": special[name] for name in ("pad", "cls", "sep")}
    wrong = [
        f"{key} is {getattr(model, key)}, not {value}"
        for key, value in expected.items()
        if getattr(model, key) != value
    ]
    if model.vocab_size < tokenizer["vocab_size"]:
        wrong.append(f"vocab_size is {model.vocab_size:,}, below {tokenizer['vocab_size']:,}")
    if wrong:
        raise UserError(
            f"the model does not fit the tokenizer of {dataset.address}: {'; '.join(wrong)}. From scratch, set these "
            "keys of the model section; to continue a model, prepare the data with that model's own tokenizer"
        )


def open_metrics(config: RunConfig, plan: Plan, dataset: PackDataset, progress: Progress) -> MetricsWriter:
    """Rank 0's side of the run directory; prints the plan."""
    (config.run_dir / "config.yaml").write_text(dump(config))
    copy_tokenizer(dataset.address, config.run_dir / "tokenizer")
    for line in plan_lines(plan, dataset):
        print(line, flush=True)
    return MetricsWriter(config.run_dir, progress.step, plan.steps, config.metrics)


def open_mirror(config: RunConfig, metrics: MetricsWriter | None) -> Mirror | None:
    """Of the checkpoints, on the rank that speaks for the run."""
    if config.checkpoint.upload is None or metrics is None:
        return None
    return Mirror(config.run_dir / "checkpoints", config.checkpoint.upload, metrics.say)


def require_ownership(agreed: Agreement, attempt: Attempt) -> None:
    """A run that was started again since belongs to the newer start."""
    if agreed.superseded:
        raise UserError(
            f"{attempt.run_dir}: the run was started again while start {attempt.number} was still there: this one ends "
            "here and has written nothing since"
        )


def describe_packs(dataset: PackDataset, skips: Sequence[Skip], settings: StepSettings) -> str:
    """The step and its packs, for errors."""
    first = place(skips, settings.start)
    packs = dataset.order.between(first, first + settings.packs)
    named = ", ".join(f"{dataset.sources[p.source]}:{p.epoch}:{p.pack}" for p in packs)
    return f"step {settings.step + 1} (source:epoch:pack {named})"


def summed(totals: torch.Tensor, digest_of_rank: int, flops: int) -> tuple[float, int, int, float]:
    """(sum of losses, correct predictions, data digest, FLOPs) over all ranks."""
    everything = torch.cat([totals, totals.new_tensor([digest_of_rank, flops])])
    dist.all_reduce(everything)
    loss_sum, correct, digests, flops_of_all = everything.tolist()
    return loss_sum, int(correct), int(digests), flops_of_all
