"""Needles: masked tokens whose only evidence lies at the other end of a long sequence.

A fact is a key and a value, both of random tokens, so that nothing but the sequence has the value. It is planted at the
beginning of held-out text and again at its end, where the value is masked. A model that finds and copies it predicts
the value at any length; without the first mention, which is the control, nothing does better than chance.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ...configs.errors import UserError
from ...configs.progress import Progress
from ...streaming_data.loader.counter_rng import random_bits
from ...streaming_data.loader.masking import Vocabulary
from ...streaming_data.shards.manifest import read_manifest
from ...streaming_data.shards.mds import PackReader
from ..models.protocol import Protocol
from ..scores.units import Score
from .masked_words import data_vocabulary, require_same_vocabulary

if TYPE_CHECKING:
    from ..models.model import EvaluatedModel

_NEAR = 16
"""Mentions are in the first and the last 1/16 of a sequence."""
_TEXT = 4
"""Tokens of held-out text that are read, as multiples of the longest sequence."""


class NeedlesTask(BaseModel):
    """The evaluation's `data` is a data set written by `cmbert data prepare`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["needles"]
    lengths: tuple[PositiveInt, ...] = Field(
        (512, 2048, 8192, 16_384, 32_768), min_length=1, description="of sequences, in tokens; longer ones than the "
        "model allows are left out"
    )  # fmt: skip
    probes: PositiveInt = Field(32, description="sequences of each length")
    key: PositiveInt = Field(4, description="tokens of a fact that are seen in both mentions")
    value: PositiveInt = Field(2, description="tokens of a fact that are masked in its second mention")

    def files(self) -> list[str]:
        return ["manifest.json"]


class Probe(NamedTuple):
    """A sequence, int64 (n,), its masked positions and the tokens that belong there, int64 (value,) each."""

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]


def run_needles(
    model: "EvaluatedModel", task: NeedlesTask, data: Path, protocol: Protocol, seed: int
) -> dict[str, Score]:
    """Accuracy and loss of the masked tokens at each length, with the evidence and without it (`control`).

    A unit is a sequence.

    Raises:
        UserError: the model has another tokenizer than the data, or allows none of the lengths.
    """
    import torch
    from torch.nn import functional as F

    lengths = [length for length in task.lengths if length <= model.max_length]
    if not lengths:
        raise UserError(
            f"{model.name} allows {model.max_length:,} tokens, fewer than every length of the task: set task.lengths"
        )
    require_same_vocabulary(model.tokenizer.get_vocab(), model.name, data)
    vocab, text = data_vocabulary(read_manifest(str(data))), held_out_text(data, _TEXT * max(lengths))
    special = read_manifest(str(data)).tokenizer.special_ids
    logits = model.open_masked_lm()
    scores: dict[str, Score] = {}
    with Progress("scoring", 2 * task.probes * len(lengths), "sequences") as progress:
        for length in lengths:
            for name, evidence in (("", True), ("control ", False)):
                correct, losses = [], []
                for number in range(task.probes):
                    probe = make_probe(task, length, number, text, vocab, (special.cls, special.sep), evidence)
                    with torch.no_grad():
                        rows = logits([torch.from_numpy(probe.tokens)], torch.from_numpy(probe.positions)).float()
                    targets = torch.from_numpy(probe.targets).to(rows.device)
                    correct.append(float((rows.argmax(1) == targets).float().mean()))
                    losses.append(float(F.cross_entropy(rows, targets)))
                    progress.advance()
                scores[f"{length} {name}top1"] = Score("mean", correct)
                scores[f"{length} {name}loss"] = Score("mean", losses)
    return scores


def read_needles(task: NeedlesTask, data: Path) -> None:
    """Check the data, and that a fact fits at both ends of the shortest sequence.

    Raises:
        UserError: it does not, or no source has held-out packs.
    """
    fact, shortest = task.key + task.value, min(task.lengths)
    if shortest < _NEAR * (fact + 2):
        raise UserError(
            f"task.lengths: {shortest} tokens are too few for a fact of {fact} at both ends: at least "
            f"{_NEAR * (fact + 2)}"
        )
    held_out_text(data, 1)


def held_out_text(data: Path, tokens: int) -> npt.NDArray[np.int64]:
    """The first held-out tokens of a data set, int64 (n,), without special tokens, from all sources in turn.

    Fewer than `tokens` if the data set has fewer.

    Raises:
        UserError: no source has held-out packs.
    """
    manifest = read_manifest(str(data))
    is_real, found, count = data_vocabulary(manifest).is_real, list[npt.NDArray[np.int64]](), 0
    for pack in _held_out_packs(data, [name for name, one in manifest.sources.items() if _has_held_out(one.splits)]):
        found.append(pack[is_real[pack]])
        count += len(found[-1])
        if count >= tokens:
            break
    if not count:
        raise UserError(f"{data}: no source has held-out packs; prepare it with held_out above 0")
    return np.concatenate(found)


def _has_held_out(splits: object) -> bool:
    split = splits.get("held_out") if isinstance(splits, dict) else None
    return bool(split and split.packs)


def _held_out_packs(data: Path, sources: list[str]) -> Iterator[npt.NDArray[np.int64]]:
    """Tokens of the held-out packs: the first of each source, then the second of each."""
    readers = [PackReader(f"{data}/{name}/held_out") for name in sources]
    for number in range(max(map(len, readers), default=0)):
        for reader in readers:
            if number < len(reader):
                yield reader[number].tokens.astype(np.int64)


def make_probe(
    task: NeedlesTask,
    length: int,
    number: int,
    text: npt.NDArray[np.int64],
    vocab: Vocabulary,
    ends: tuple[int, int],
    evidence: bool,
) -> Probe:
    """Probe `number` of sequences of `length` tokens: a pure function of its arguments.

    Args:
        text: from which the tokens around the mentions come, from a random position on, and again from its beginning.
        ends: the tokens that begin and end a sequence.
        evidence: whether the fact is mentioned at the beginning. All else is the same.
    """
    fact, free = task.key + task.value, length // _NEAR - (task.key + task.value) - 1
    draws = random_bits(fact + 3, "needles", length, number)
    ids = vocab.real_ids[draws[:fact] % np.uint64(len(vocab.real_ids))]
    begin, near, far = (
        int(draw % np.uint64(count)) for draw, count in zip(draws[fact:], (len(text), free, free), strict=True)
    )
    tokens = np.take(text, np.arange(begin, begin + length), mode="wrap")
    tokens[0], tokens[-1] = ends
    first, second = 1 + near, length - 1 - fact - far
    if evidence:
        tokens[first : first + fact] = ids
    tokens[second : second + fact] = ids
    positions = np.arange(second + task.key, second + fact)
    tokens[positions] = vocab.mask_id
    return Probe(tokens, positions, ids[task.key :])
