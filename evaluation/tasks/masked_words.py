"""Prediction of masked tokens and masked words in held-out packs, by source.

Unlike in training, every chosen token is replaced by the mask token: none is kept and none is replaced at random, so
the scores depend only on the context. The masks depend only on the source and the pack: all models get the same ones.
"""

import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ...configs.errors import UserError
from ...configs.progress import Progress
from ...kernels.logit_chunks import CHUNK_BYTES
from ...streaming_data.loader.mask_groups import mask_groups
from ...streaming_data.loader.masking import Vocabulary, mask, vocabulary
from ...streaming_data.shards.manifest import DataManifest, read_manifest
from ...streaming_data.shards.mds import PackReader
from ...streaming_data.shards.pack import Pack
from ...streaming_data.tokenizer.tokenizer import load
from ...streaming_data.tokenizer.words import pretokens_are_words
from ..models.protocol import Protocol
from ..scores.units import Score

if TYPE_CHECKING:
    import torch

    from ..models.model import EvaluatedModel, MaskedLogits

_ROWS = 2048  # of logits at once, fewer if the vocabulary is large
logger = logging.getLogger(__name__)


class MaskedWordsTask(BaseModel):
    """The evaluation's `data` is a data set written by `cmbert data prepare`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["masked_words"]
    packs: PositiveInt | Literal["all"] = Field(16, description="number of held-out packs per source")
    rate: float = Field(0.15, gt=0, lt=1, description="share of the maskable tokens that is masked")
    draws: PositiveInt = Field(1, description="how often each pack is masked; scores are of all draws together")

    def files(self) -> list[str]:
        return ["manifest.json"]


def run_masked_words(
    model: "EvaluatedModel", task: MaskedWordsTask, data: Path, protocol: Protocol, seed: int
) -> dict[str, Score]:
    """Score each source: loss in nats, top-1 and top-5 accuracy of tokens, and accuracy of words. A unit is a pack."""
    readers = read_masked_words(task, data)
    require_same_vocabulary(model.tokenizer.get_vocab(), model.name, data)
    logits = model.open_masked_lm()
    vocab = data_vocabulary(read_manifest(str(data)))
    scores: dict[str, Score] = {}
    most = max(map(len, readers.values())) if task.packs == "all" else task.packs
    counts = {source: min(most, len(packs)) for source, packs in readers.items()}
    with Progress("scoring", task.draws * sum(counts.values()), "packs") as progress:
        for source, count in counts.items():
            selected = [readers[source][number] for number in range(count)]
            values = _score(model, logits, selected, vocab, task, progress)
            scores |= {f"{source} {name}": value for name, value in values.items()}
    return scores


def read_masked_words(task: MaskedWordsTask, data: Path) -> dict[str, PackReader]:
    """The held-out packs of each source.

    Raises:
        UserError: there is no data set, its tokenizer or an index is missing, or no source has held-out packs.
    """
    manifest = read_manifest(str(data))
    tokenizer = load(data / "tokenizer")
    held_out = {source: entry.splits.get("held_out") for source, entry in manifest.sources.items()}
    readers = {name: PackReader(f"{data}/{name}/held_out") for name, split in held_out.items() if split and split.packs}
    if not readers:
        raise UserError(f"{data}: no source has held-out packs; prepare it with held_out above 0")
    for name in readers:
        words = manifest.sources[name].words
        if not (words.are_words if words else pretokens_are_words(tokenizer.backend)):
            logger.warning(
                "%s: its tokenizer does not divide the text of %s into words; the accuracy of words is of passages",
                data,
                name,
            )
    return readers


def mask_pack(
    pack: Pack, number: int, vocab: Vocabulary, rate: float, strategy: Literal["token", "whole_word"], draw: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return tokens (n,) with some masked, and their positions (m,), targets (m,) and groups (m,).

    The tokens of a masked word form one group; with strategy `token` each token is a group.
    """
    groups = mask_groups(strategy, pack.tokens, pack.word_starts, vocab.is_real, None)
    key = (number, draw) if draw else (number,)  # the first draw is the one of before there were several
    masked = mask(pack.tokens, rate, vocab, "evaluation", strategy, *key, groups=groups)
    tokens = masked.tokens.copy()
    tokens[masked.positions] = vocab.mask_id
    return tokens, masked.positions, masked.targets, masked.positions if groups is None else groups[masked.positions]


def _score(
    model: "EvaluatedModel",
    logits: "MaskedLogits",
    packs: list[Pack],
    vocab: Vocabulary,
    task: MaskedWordsTask,
    progress: Progress,
) -> dict[str, Score]:
    import torch
    from torch.nn import functional as F

    rows = max(16, min(_ROWS, CHUNK_BYTES // (4 * len(vocab.is_real))))
    # Sums over the tokens of each pack: loss, among the first 1 and 5, tokens; and over its words: correct, words.
    tokens_of, words_of = np.zeros((len(packs), 4)), np.zeros((len(packs), 2))
    for draw, (number, pack) in product(range(task.draws), enumerate(packs)):
        tokens, positions, targets, _ = mask_pack(pack, number, vocab, task.rate, "token", draw)
        for scores, truth in _predictions(model, logits, pack, tokens, positions, targets, rows):
            loss, ranks = F.cross_entropy(scores, truth, reduction="sum"), _ranks(scores, truth)
            tokens_of[number] += [float(loss), int((ranks == 0).sum()), int((ranks < 5).sum()), len(truth)]
        tokens, positions, targets, groups = mask_pack(pack, number, vocab, task.rate, "whole_word", draw)
        correct = torch.cat(
            [
                _ranks(scores, truth) == 0
                for scores, truth in _predictions(model, logits, pack, tokens, positions, targets, rows)
            ]
        )
        words = _all_correct(correct.cpu().numpy(), groups)
        words_of[number] += [int(words.sum()), len(words)]
        progress.advance()
    of_tokens = {name: Score("mean", tokens_of[:, [at, 3]]) for at, name in enumerate(("loss", "top1", "top5"))}
    return {**of_tokens, "word": Score("mean", words_of)}


def _predictions(
    model: "EvaluatedModel",
    logits: "MaskedLogits",
    pack: Pack,
    tokens: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    rows: int,
) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
    """Yield scores (M, V) and targets (M,) for parts of the pack's masked positions, in order."""
    import torch

    from ...streaming_data.loader.batches import cut

    lengths = cut(pack.lengths, model.max_length)
    sequences = torch.from_numpy(tokens).split(lengths.tolist())
    ends = np.cumsum(lengths)
    owner = np.searchsorted(ends, positions, side="right")
    for start in range(0, len(positions), rows):
        part = slice(start, start + rows)
        first, last = owner[part][0], owner[part][-1]
        offset = ends[first] - lengths[first]
        with torch.no_grad():
            scores = logits(sequences[first : last + 1], torch.from_numpy(positions[part] - offset))
        yield scores.float(), torch.from_numpy(targets[part]).to(scores.device)


def _ranks(scores: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    """The number of vocabulary entries with a higher score than the target, int64 (M,)."""
    return (scores > scores.gather(1, targets[:, None])).sum(1)


def _all_correct(correct: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """For each group, in ascending order, whether all its tokens are correct."""
    _, member = np.unique(groups, return_inverse=True)
    return np.bincount(member, weights=~correct) == 0


def check_same_tokenizer(directory: Path, data: Path) -> None:
    """Check a model's directory before it is opened, if it has a tokenizer.json.

    Raises:
        UserError: the data was prepared with another tokenizer.
    """
    if (directory / "tokenizer.json").is_file():
        require_same_vocabulary(load(directory).backend.get_vocab(with_added_tokens=True), str(directory), data)


def require_same_vocabulary(vocabulary: dict[str, int], model: str, data: Path) -> None:
    """Require that the data was prepared with a model's vocabulary.

    Raises:
        UserError: it was not.
    """
    if vocabulary != load(data / "tokenizer").backend.get_vocab(with_added_tokens=True):
        raise UserError(
            f"{data} was prepared with another tokenizer than that of {model}: its token ids differ; prepare "
            f"the same sources again with `tokenizer` set to the directory of {model}"
        )


def data_vocabulary(manifest: DataManifest) -> Vocabulary:
    """The vocabulary of a data set's tokenizer, for masking."""
    tokenizer = manifest.tokenizer
    special = tokenizer.special_ids
    return vocabulary(tokenizer.vocab_size, special.pad, special.mask, tokenizer.unmaskable_ids)
