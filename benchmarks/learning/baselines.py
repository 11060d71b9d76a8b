"""The bag of subwords of the learning proof, on the same tasks; it uses no word order and trains in seconds."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.evaluation.bag_of_subwords import score_bag_of_entities, tfidf, train_cbow
from clinical_modernbert.evaluation.formats.iob import read_iob
from clinical_modernbert.evaluation.models.model import EvaluatedModel, open_model
from clinical_modernbert.evaluation.suite import Evaluation, Scores
from clinical_modernbert.evaluation.tasks.code_structure import CodesTask, read_systems, structure
from clinical_modernbert.evaluation.tasks.masked_words import MaskedWordsTask, run_masked_words
from clinical_modernbert.evaluation.tasks.ner import NerTask
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.training.recipe.config import RunConfig


def score_bag(tasks: dict[str, Path], model: Path, config: RunConfig, path: Path) -> Mapping[str, Mapping[str, float]]:
    """The scores of the bag of subwords for each task, from `path` if they are there.

    Args:
        model: whose tokenizer is used.
        config: of the run whose packs, order and masking rate the baseline gets too.
    """
    if path.is_file():
        saved: dict[str, dict[str, float]] = json.loads(path.read_text())
        return saved
    torch.set_num_threads(2)
    evaluations = {name: load(Evaluation, file) for name, file in tasks.items()}
    opened = open_model(str(model))
    scores = {
        "masked-words": _masked_words(opened, evaluations["masked-words"], config),
        "ncbi-disease": _entities(opened, evaluations["ncbi-disease"]),
        "codes": _codes(opened, evaluations["codes"]),
    }
    path.write_text(json.dumps(scores, indent=1))
    return scores


def _masked_words(model: EvaluatedModel, evaluation: Evaluation, config: RunConfig) -> Scores:
    """Train on the packs of the training run, in the same order and steps, with the same masking rate."""
    assert isinstance(evaluation.task, MaskedWordsTask)
    packs = config.schedule.total_tokens // config.data.seq_length
    rate = config.schedule.mlm_probability[0][1]
    batch = config.batch.global_batch_size
    logits = train_cbow(open_dataset(config.data, config.seed, packs_per_step=batch), packs, batch, rate, seed=0)
    baseline = replace(model, open_masked_lm=lambda: logits)
    return run_masked_words(baseline, evaluation.task, evaluation.data, evaluation.protocol, 0)


def _entities(model: EvaluatedModel, evaluation: Evaluation) -> Scores:
    assert isinstance(evaluation.task, NerTask)
    train, test = (read_iob(evaluation.data / name) for name in evaluation.task.files())
    return score_bag_of_entities(model, train, test)


def _codes(model: EvaluatedModel, evaluation: Evaluation) -> Scores:
    assert isinstance(evaluation.task, CodesTask)
    systems = read_systems(evaluation.task, evaluation.data)
    corpus = [code.description for code in systems.icd10]
    return structure(systems, lambda texts: tfidf(model, corpus, texts), evaluation.task.vectors)
