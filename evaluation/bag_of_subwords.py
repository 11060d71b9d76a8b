"""Bag-of-subwords baselines, which use no word order. The learning proof compares the trained model with them.

- masked tokens: the mean vector of the five tokens on each side and a linear layer (CBOW), trained on the same packs
- entities: logistic regression on the subwords of a word and of the two words on each side
- codes: TF-IDF of the subwords of a text
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..streaming_data.loader.batches import micro_batch
from ..streaming_data.loader.dataset import PackDataset
from .fine_tuning.loop import seeded
from .formats.iob import Sentence
from .formats.words import words_as_text
from .models.model import EvaluatedModel, MaskedLogits
from .models.tokens import encode_texts, encode_words
from .scores.optional_dependencies import require
from .scores.ranking import Vectors
from .suite import Scores
from .tasks.ner import score_entities

CONTEXT = 5
"""Tokens on each side of a masked token."""
WIDTH = 128
LEARNING_RATE = 3e-3


class Cbow(nn.Module):
    """Maps neighbors, int64 (M, 2 * CONTEXT), to scores (M, V). Neighbors equal to `padding_id` are ignored."""

    def __init__(self, vocab_size: int, padding_id: int) -> None:
        super().__init__()
        self.padding_id = padding_id
        self.bag = nn.EmbeddingBag(vocab_size, WIDTH, mode="mean", padding_idx=padding_id)
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, vocab_size)

    def forward(self, neighbors: Tensor) -> Tensor:
        scores: Tensor = self.out(self.norm(self.bag(neighbors)))
        return scores


def train_cbow(dataset: PackDataset, packs: int, packs_per_step: int, rate: float, seed: int) -> MaskedLogits:
    """Train on the first packs in the order of a run, masked at `rate`, and return the scoring function."""
    vocabulary = dataset.vocabulary
    with seeded(seed):
        model = Cbow(len(vocabulary.is_real), vocabulary.pad_id)
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        steps = packs // packs_per_step
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for step in range(steps):
            addresses = dataset.order.between(step * packs_per_step, (step + 1) * packs_per_step)
            batch = micro_batch(dataset, addresses, dataset.seq_length, rate)
            sequences = batch.input_ids.split(list(batch.lengths))
            scores = model(_neighbors(sequences, batch.masked_positions, vocabulary.mask_id, vocabulary.pad_id))
            F.cross_entropy(scores, batch.targets).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    def logits(sequences: Sequence[Tensor], positions: Tensor) -> Tensor:
        with torch.no_grad():
            scores: Tensor = model(_neighbors(sequences, positions, vocabulary.mask_id, vocabulary.pad_id))
        return scores

    return logits


def score_bag_of_entities(model: EvaluatedModel, train: Sequence[Sentence], test: Sequence[Sentence]) -> Scores:
    """Train on one list of sentences and score the other. Only the model's tokenizer is used."""
    classifier = require("sklearn.linear_model").LogisticRegression(max_iter=300)
    features, tags = _word_features(model, train)
    classifier.fit(features, tags)
    features, _ = _word_features(model, test)
    predictions = classifier.predict(features)
    ends = np.cumsum([len(sentence.words) for sentence in test])[:-1]
    return score_entities([s.tags for s in test], [part.tolist() for part in np.split(predictions, ends)])


def tfidf(model: EvaluatedModel, corpus: Sequence[str], texts: Sequence[str]) -> Vectors:
    """TF-IDF vectors of the texts, float32 (N, V) with norm 1; document frequencies are those of the corpus."""
    weights = require("sklearn.feature_extraction.text").TfidfTransformer().fit(_counts(model, corpus))
    vectors: Vectors = weights.transform(_counts(model, texts)).toarray().astype(np.float32)
    return vectors


def _neighbors(sequences: Sequence[Tensor], positions: Tensor, mask_id: int, padding_id: int) -> Tensor:
    """The tokens around each position, int64 (M, 2 * CONTEXT).

    Masks and positions outside the sequence are `padding_id`.
    """
    tokens = torch.cat(list(sequences))
    owner = torch.repeat_interleave(torch.arange(len(sequences)), torch.tensor([len(ids) for ids in sequences]))
    offsets = torch.tensor([offset for offset in range(-CONTEXT, CONTEXT + 1) if offset])
    neighbors = positions[:, None] + offsets
    valid = neighbors.clamp(0, len(tokens) - 1)
    usable = (valid == neighbors) & (owner[valid] == owner[positions][:, None]) & (tokens[valid] != mask_id)
    return torch.where(usable, tokens[valid], padding_id)


def _word_features(model: EvaluatedModel, sentences: Sequence[Sentence]) -> tuple[object, list[str]]:
    """Subword counts of each word, then of its two neighbors on each side, sparse (words, 2 V); and the words' tags."""
    sparse = require("scipy.sparse")
    size = len(model.tokenizer)
    rows, columns, first = [], [], 0
    texts, words_of = zip(*(words_as_text(sentence.words) for sentence in sentences), strict=True)
    for sentence, ([ids], words, positions, _) in zip(sentences, encode_words(model, texts, words_of), strict=True):
        count = len(sentence.words)
        ends = [*positions.tolist()[1:], len(ids) - 1]
        for word, start, end in zip(words.tolist(), positions.tolist(), ends, strict=False):
            for token in ids[start:end].tolist():
                neighbors = [other for other in range(max(0, word - 2), min(count, word + 3)) if other != word]
                rows += [first + word, *(first + other for other in neighbors)]
                columns += [token, *[size + token] * len(neighbors)]
        first += count
    features = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(first, 2 * size))
    return features, [tag for sentence in sentences for tag in sentence.tags]


def _counts(model: EvaluatedModel, texts: Sequence[str]) -> object:
    sparse = require("scipy.sparse")
    encoded = encode_texts(model, texts)
    rows = np.repeat(np.arange(len(texts)), [len(ids) for ids in encoded])
    columns = torch.cat(encoded).numpy()
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(model.tokenizer)))
