"""Baselines: what a bag can know it learns, and what needs order it cannot."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from small_data import MASK, PAD, SEQ_LENGTH, VOCAB, write_small_data

from clinical_modernbert.evaluation.bag_of_subwords import SIDE, _neighbours, score_bag_of_entities, tfidf, train_cbow
from clinical_modernbert.evaluation.formats.iob import Sentence
from clinical_modernbert.evaluation.models.model import Subject
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset


def test_neighbours_are_of_the_own_sequence_and_never_masks() -> None:
    sequences = [torch.arange(10, 14), torch.arange(20, 34)]
    sequences[1][3] = MASK
    found = _neighbours(sequences, torch.tensor([0, 3, 6]), MASK, PAD)
    assert found.shape == (3, 2 * SIDE)
    assert [sorted(row[row != PAD].tolist()) for row in found] == [
        [11, 12, 13],
        [10, 11, 12],
        [20, 21, 24, 25, 26, 27],
    ]


def test_cbow_learns_what_neighbours_tell(tmp_path: Path) -> None:
    data = write_small_data(tmp_path, packs=60)
    dataset = open_dataset(DataConfig(path=str(data), seq_length=SEQ_LENGTH), seed=0)
    logits = train_cbow(dataset, packs=1200, a_step=4, rate=0.3, seed=0)
    middle = torch.arange(40, 40 + 2 * SIDE + 1)
    middle[SIDE] = MASK
    truth = 40 + SIDE
    scores = logits([middle], torch.tensor([SIDE]))
    assert scores.shape == (1, VOCAB)
    assert abs(int(scores.argmax()) - truth) <= 1
    backwards = logits([middle.flip(0)], torch.tensor([SIDE]))
    assert torch.allclose(scores, backwards, atol=1e-5)


def test_entities_that_a_word_tells_are_found(ours: Subject) -> None:
    words = [["acute", "fever", "and", "cough"], ["left", "lung"], ["heart", "at", "fever"]] * 5
    sentences = [Sentence(w, ["B-D" if word == "fever" else "O" for word in w]) for w in words]
    assert score_bag_of_entities(ours, sentences, sentences)["f1"] == 1


def test_tfidf_is_scikit_learns_of_the_same_subwords(ours: Subject) -> None:
    corpus, texts = ["acute pain", "pain of lung", "fever"], ["lung pain pain", "fever"]
    known = TfidfVectorizer(analyzer=lambda text: [str(token) for token in ours.tokenizer(text)["input_ids"]])
    expected = known.fit(corpus).transform(texts).toarray()
    found = tfidf(ours, corpus, texts)
    columns = [int(token) for token in known.get_feature_names_out()]
    inside = found[:, columns]
    assert found.shape == (2, len(ours.tokenizer))
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    # Subwords that the corpus lacks are rare to us and unknown to it: compare directions of the known ones.
    assert inside / np.linalg.norm(inside, axis=1, keepdims=True) == pytest.approx(expected, abs=1e-6)
