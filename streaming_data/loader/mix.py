"""What a run reads of each source, worked out from the order before the first step."""

from collections.abc import Iterable
from dataclasses import dataclass

from ...configs.errors import UserError
from .dataset import PackDataset


@dataclass(frozen=True)
class SourceMix:
    """What of one source is among the first packs of a run.

    Attributes:
        source: its name.
        packs: how many, repeats counted.
        tokens: in them, by the mean of the source's packs.
        share: of the tokens of all sources.
        epochs: how often the source has passed.
        ended: whether it has reached its limit.
    """

    source: str
    packs: int
    tokens: float
    share: float
    epochs: float
    ended: bool


def plan_mix(dataset: PackDataset, packs: int) -> list[SourceMix]:
    """The mix of the first `packs` packs of training.

    Raises:
        UserError: the limits of the sources allow fewer.
    """
    order = dataset.order
    if packs > order.length:
        raise UserError(
            f"the run reads {packs:,} packs, but data.max_epochs lets only {order.length:,} pass: raise it, leave a "
            "source without a limit, or lower schedule.total_tokens"
        )
    drawn = order.drawn(packs)
    tokens = [count * mean for count, mean in zip(drawn, dataset.pack_tokens, strict=True)]
    return [
        SourceMix(
            source=source,
            packs=drawn[at],
            tokens=tokens[at],
            share=tokens[at] / sum(tokens) if packs else 0.0,
            epochs=drawn[at] / len(dataset.readers[at]),
            ended=drawn[at] == order.limits[at],
        )
        for at, source in enumerate(dataset.sources)
    ]


def describe_mix(mix: Iterable[SourceMix]) -> list[str]:
    """The mix of a whole run as the lines that are printed before step 1."""
    return [
        f"mix              {part.source}: {part.share:.2%} of the tokens, {part.tokens:,.0f} in {part.packs:,} packs, "
        f"{part.epochs:.2f} epochs{' (its limit)' if part.ended else ''}"
        for part in mix
    ]
