"""How much of each source a run reads, computed from the order before the first step."""

from collections.abc import Iterable
from dataclasses import dataclass

from ...configs.errors import UserError
from .dataset import PackDataset


@dataclass(frozen=True)
class SourceMix:
    """How much of one source is among the first packs of a run.

    Attributes:
        source: name.
        packs: number of packs, repeats counted.
        tokens: estimate, from the mean tokens per pack of the source.
        share: share of the tokens of all sources.
        epochs: packs divided by the size of the source.
        ended: whether the source has reached its limit.
    """

    source: str
    packs: int
    tokens: float
    share: float
    epochs: float
    ended: bool


def plan_mix(dataset: PackDataset, packs: int) -> list[SourceMix]:
    """The mix of the first `packs` packs.

    Raises:
        UserError: the limits of the sources allow fewer packs.
    """
    order = dataset.order
    if packs > order.length:
        raise UserError(
            f"the run reads {packs:,} packs, but data.max_epochs allows only {order.length:,}: raise it, leave a "
            "source without a limit, or lower schedule.total_tokens"
        )
    counts = order.source_counts(packs)
    tokens = [count * mean for count, mean in zip(counts, dataset.pack_tokens, strict=True)]
    return [
        SourceMix(
            source=source,
            packs=counts[index],
            tokens=tokens[index],
            share=tokens[index] / sum(tokens) if packs else 0.0,
            epochs=counts[index] / len(dataset.readers[index]),
            ended=counts[index] == order.limits[index],
        )
        for index, source in enumerate(dataset.sources)
    ]


def describe_mix(mix: Iterable[SourceMix]) -> list[str]:
    """The mix of a run as the lines that are printed before step 1."""
    return [
        f"mix              {part.source}: {part.share:.2%} of the tokens, {part.tokens:,.0f} in {part.packs:,} packs, "
        f"{part.epochs:.2f} epochs{' (its limit)' if part.ended else ''}"
        for part in mix
    ]
