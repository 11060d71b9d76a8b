"""The baselines learn what does not depend on word order, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from small_data import MASK, PAD, SEQ_LENGTH, VOCAB, write_small_data

from clinical_modernbert.evaluation.bag_of_subwords import CONTEXT, _neighbors, score_bag_of_entities, tfidf, train_cbow
from clinical_modernbert.evaluation.formats.iob import Sentence
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset


def test_neighbors_are_in_the_same_sequence_and_never_masks() -> None:
    sequences = [torch.arange(10, 14), torch.arange(20, 34)]
    sequences[1][3] = MASK
    neighbors = _neighbors(sequences, torch.tensor([0, 3, 6]), MASK, PAD)
    assert neighbors.shape == (3, 2 * CONTEXT)
    assert [sorted(row[row != PAD].tolist()) for row in neighbors] == [
        [11, 12, 13],
        [10, 11, 12],
        [20, 21, 24, 25, 26, 27],
    ]


def test_cbow_learns_from_neighbors(tmp_path: Path) -> None:
    data = write_small_data(tmp_path, packs=60)
    dataset = open_dataset(DataConfig(path=str(data), seq_length=SEQ_LENGTH), seed=0)
    logits = train_cbow(dataset, packs=1200, packs_per_step=4, rate=0.3, seed=0)
    middle = torch.arange(40, 40 + 2 * CONTEXT + 1)
    middle[CONTEXT] = MASK
    truth = 40 + CONTEXT
    scores = logits([middle], torch.tensor([CONTEXT]))
    assert scores.shape == (1, VOCAB)
    assert abs(int(scores.argmax()) - truth) <= 1
    backwards = logits([middle.flip(0)], torch.tensor([CONTEXT]))
    assert torch.allclose(scores, backwards, atol=1e-5)


def test_entities_defined_by_a_word_are_found(ours: EvaluatedModel) -> None:
    words = [["acute", "fever", "and", "cough"], ["left", "lung"], ["heart", "at", "fever"]] * 5
    sentences = [Sentence(w, ["B-D" if word == "fever" else "O" for word in w]) for w in words]
    assert score_bag_of_entities(ours, sentences, sentences)["f1"] == 1


def test_tfidf_equals_scikit_learns_on_the_same_subwords(ours: EvaluatedModel) -> None:
    corpus, texts = ["acute pain", "pain of lung", "fever"], ["lung pain pain", "fever"]
    reference = TfidfVectorizer(analyzer=lambda text: [str(token) for token in ours.tokenizer(text)["input_ids"]])
    expected = reference.fit(corpus).transform(texts).toarray()
    vectors = tfidf(ours, corpus, texts)
    columns = [int(token) for token in reference.get_feature_names_out()]
    inside = vectors[:, columns]
    assert vectors.shape == (2, len(ours.tokenizer))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    # Subwords that are not in the corpus have no weight in scikit-learn: compare the direction of the others.
    assert inside / np.linalg.norm(inside, axis=1, keepdims=True) == pytest.approx(expected, abs=1e-6)
