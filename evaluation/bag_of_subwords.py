"""Baselines without order or context: what the subwords in a window say by themselves. The learning proof's rival.

- masked tokens: the mean vector of the five tokens on each side, and a linear layer (CBOW), trained on the same packs
- entities: logistic regression on the subwords of a word, and on those of the two words on each side
- codes: TF-IDF of a text's subwords
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..streaming_data.loader.batches import micro_batch
from ..streaming_data.loader.dataset import PackDataset
from .formats.iob import Sentence
from .models.fine_tune import seeded
from .models.model import MaskedLogits, Subject
from .models.tokens import encode_texts, encode_words
from .scores.libraries import require
from .scores.ranking import Vectors
from .suite import Scores
from .tasks.ner import score_entities

SIDE = 5
WIDTH = 128
RATE = 3e-3


class Cbow(nn.Module):
    """Neighbours (M, 2 * SIDE) to scores (M, V); those that are `nothing` count for nothing."""

    def __init__(self, vocab_size: int, nothing: int) -> None:
        super().__init__()
        self.nothing = nothing
        self.bag = nn.EmbeddingBag(vocab_size, WIDTH, mode="mean", padding_idx=nothing)
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, vocab_size)

    def forward(self, neighbours: Tensor) -> Tensor:
        scores: Tensor = self.out(self.norm(self.bag(neighbours)))
        return scores


def train_cbow(dataset: PackDataset, packs: int, a_step: int, rate: float, seed: int) -> MaskedLogits:
    """Learn from the first packs of a run's order, masked at `rate`, `a_step` packs in each step."""
    words = dataset.vocabulary
    with seeded(seed):
        model = Cbow(len(words.is_real), words.pad_id)
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        steps = packs // a_step
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for step in range(steps):
            addresses = dataset.order.between(step * a_step, (step + 1) * a_step)
            batch = micro_batch(dataset, addresses, dataset.seq_length, rate)
            sequences = batch.input_ids.split(list(batch.lengths))
            scores = model(_neighbours(sequences, batch.masked_positions, words.mask_id, words.pad_id))
            F.cross_entropy(scores, batch.targets).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    def logits(sequences: Sequence[Tensor], places: Tensor) -> Tensor:
        with torch.no_grad():
            scores: Tensor = model(_neighbours(sequences, places, words.mask_id, words.pad_id))
        return scores

    return logits


def score_bag_of_entities(subject: Subject, train: Sequence[Sentence], test: Sequence[Sentence]) -> Scores:
    """Only the subject's tokenizer is used."""
    model = require("sklearn.linear_model").LogisticRegression(max_iter=300)
    features, tags = _word_features(subject, train)
    model.fit(features, tags)
    features, _ = _word_features(subject, test)
    guesses = model.predict(features)
    ends = np.cumsum([len(sentence.words) for sentence in test])[:-1]
    return score_entities([s.tags for s in test], [part.tolist() for part in np.split(guesses, ends)])


def tfidf(subject: Subject, corpus: Sequence[str], texts: Sequence[str]) -> Vectors:
    """float32 (N, V) of the texts, each of length 1; rare is what is rare in the corpus."""
    weights = require("sklearn.feature_extraction.text").TfidfTransformer().fit(_counts(subject, corpus))
    vectors: Vectors = weights.transform(_counts(subject, texts)).toarray().astype(np.float32)
    return vectors


def _neighbours(sequences: Sequence[Tensor], places: Tensor, mask_id: int, nothing: int) -> Tensor:
    """int64 (M, 2 * SIDE): the tokens beside each place in its own sequence; masks and what lies beyond are nothing."""
    tokens = torch.cat(list(sequences))
    owner = torch.repeat_interleave(torch.arange(len(sequences)), torch.tensor([len(ids) for ids in sequences]))
    offsets = torch.tensor([offset for offset in range(-SIDE, SIDE + 1) if offset])
    beside = places[:, None] + offsets
    inside = beside.clamp(0, len(tokens) - 1)
    own = (inside == beside) & (owner[inside] == owner[places][:, None]) & (tokens[inside] != mask_id)
    return torch.where(own, tokens[inside], nothing)


def _word_features(subject: Subject, sentences: Sequence[Sentence]) -> tuple[object, list[str]]:
    """Sparse (words, 2 V): counts of the subwords of each word, then of two neighbours on each side; and the tags."""
    sparse = require("scipy.sparse")
    size = len(subject.tokenizer)
    rows, columns, first = [], [], 0
    encoded = encode_words(subject, [sentence.words for sentence in sentences])
    for sentence, (ids, words, places) in zip(sentences, encoded, strict=True):
        count = len(sentence.words)
        ends = [*places.tolist()[1:], len(ids) - 1]
        for word, start, end in zip(words.tolist(), places.tolist(), ends, strict=False):
            for token in ids[start:end].tolist():
                beside = [near for near in range(max(0, word - 2), min(count, word + 3)) if near != word]
                rows += [first + word, *(first + near for near in beside)]
                columns += [token, *[size + token] * len(beside)]
        first += count
    features = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(first, 2 * size))
    return features, [tag for sentence in sentences for tag in sentence.tags]


def _counts(subject: Subject, texts: Sequence[str]) -> object:
    sparse = require("scipy.sparse")
    encoded = encode_texts(subject, texts)
    rows = np.repeat(np.arange(len(texts)), [len(ids) for ids in encoded])
    columns = torch.cat(encoded).numpy()
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(subject.tokenizer)))
