"""Masked tokens and whole masked words of held-out packs, source by source.

Unlike in training every masked token is hidden: none is kept and none replaced at random, so that the numbers say what
the context tells. Masks depend on the source and the pack alone: all subjects see the same.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch.nn import functional as F

from ...configs.errors import UserError
from ...streaming_data.loader.batches import cut
from ...streaming_data.loader.mask_groups import mask_groups
from ...streaming_data.loader.masking import Vocabulary, mask, vocabulary
from ...streaming_data.shards.manifest import DataManifest, read_manifest
from ...streaming_data.shards.mds import PackReader
from ...streaming_data.shards.pack import Pack
from ...streaming_data.tokenizer.tokenizer import load
from ..models.fine_tune import Protocol
from ..models.model import MaskedLogits, Subject

_ROWS = 2048


class MaskedWordsTask(BaseModel):
    """A data set of `cmbert data prepare`, which is the evaluation's `data`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["masked_words"]
    packs: PositiveInt = Field(16, description="held-out packs of each source, the first ones")
    rate: float = Field(0.15, gt=0, lt=1, description="share of the maskable tokens that is hidden")

    def files(self) -> list[str]:
        return ["manifest.json"]


def run_masked_words(
    subject: Subject, task: MaskedWordsTask, data: Path, protocol: Protocol, seed: int
) -> dict[str, float]:
    """For each source: loss in nats, accuracy of the first and the first five guesses, and of whole words."""
    manifest = read_manifest(str(data))
    _require_same_tokenizer(subject, data)
    logits = subject.open_masked_lm()
    words = _vocabulary(manifest)
    scores: dict[str, float] = {}
    for source, entry in manifest.sources.items():
        if "held_out" not in entry.splits or not entry.splits["held_out"].packs:
            continue
        packs = PackReader(f"{data}/{source}/held_out")
        chosen = [packs[number] for number in range(min(task.packs, len(packs)))]
        scores |= {
            f"{source} {name}": value for name, value in _score(subject, logits, chosen, words, task.rate).items()
        }
    if not scores:
        raise UserError(f"{data}: no source has held-out packs; prepare it with held_out above 0")
    return scores


def hide(
    pack: Pack, number: int, words: Vocabulary, rate: float, strategy: Literal["token", "whole_word"]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Tokens (n,) with the chosen ones hidden; their places (m,), targets (m,) and groups (m,): words are one each."""
    groups = mask_groups(strategy, pack.tokens, pack.word_starts, words.is_real, None)
    masked = mask(pack.tokens, rate, words, "evaluation", strategy, number, groups=groups)
    tokens = masked.tokens.copy()
    tokens[masked.positions] = words.mask_id
    return tokens, masked.positions, masked.targets, masked.positions if groups is None else groups[masked.positions]


@torch.no_grad()
def _score(
    subject: Subject, logits: MaskedLogits, packs: list[Pack], words: Vocabulary, rate: float
) -> dict[str, float]:
    losses, ranks, whole = [], [], []
    for number, pack in enumerate(packs):
        tokens, places, targets, _ = hide(pack, number, words, rate, "token")
        for guesses, truth in _guesses(subject, logits, pack, tokens, places, targets):
            losses.append(F.cross_entropy(guesses, truth, reduction="none").cpu())
            ranks.append(_ranks(guesses, truth).cpu())
        tokens, places, targets, groups = hide(pack, number, words, rate, "whole_word")
        hits = torch.cat(
            [_ranks(guesses, truth) == 0 for guesses, truth in _guesses(subject, logits, pack, tokens, places, targets)]
        )
        whole.append(_all_of_each(hits.cpu().numpy(), groups))
    rank = torch.cat(ranks)
    return {
        "loss": float(torch.cat(losses).mean()),
        "top1": float((rank == 0).float().mean()),
        "top5": float((rank < 5).float().mean()),
        "word": float(np.concatenate(whole).mean()),
    }


def _guesses(
    subject: Subject,
    logits: MaskedLogits,
    pack: Pack,
    tokens: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Scores (M, V) and targets (M,), a part of the pack's masked places at a time, in order."""
    lengths = cut(pack.lengths, subject.max_length)
    sequences = torch.from_numpy(tokens).split(lengths.tolist())
    ends = np.cumsum(lengths)
    owner = np.searchsorted(ends, places, side="right")
    for start in range(0, len(places), _ROWS):
        part = slice(start, start + _ROWS)
        first, last = owner[part][0], owner[part][-1]
        offset = ends[first] - lengths[first]
        scores = logits(sequences[first : last + 1], torch.from_numpy(places[part] - offset))
        yield scores.float(), torch.from_numpy(targets[part]).to(scores.device)


def _ranks(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """How many entries of the vocabulary score higher than the true one: int64 (M,)."""
    return (scores > scores.gather(1, targets[:, None])).sum(1)


def _all_of_each(hits: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Of each group, in order, whether all its places are hits."""
    _, member = np.unique(groups, return_inverse=True)
    return np.bincount(member, weights=~hits) == 0


def _require_same_tokenizer(subject: Subject, data: Path) -> None:
    theirs = load(data / "tokenizer").backend.get_vocab(with_added_tokens=True)
    if subject.tokenizer.get_vocab() != theirs:
        raise UserError(
            f"{data} was prepared with another tokenizer than that of {subject.name}: its packs are of other tokens; "
            f"prepare the same sources again with `tokenizer` set to the directory of {subject.name}"
        )


def _vocabulary(manifest: DataManifest) -> Vocabulary:
    tokenizer = manifest.tokenizer
    special = tokenizer.special_ids
    return vocabulary(tokenizer.vocab_size, special.pad, special.mask, tokenizer.unmaskable_ids)
