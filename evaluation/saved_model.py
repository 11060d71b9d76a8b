"""The directory of a fine-tuned model: a Hugging Face model with its tokenizer, card, predictions and references.

`AutoModelFor...from_pretrained` of transformers opens it. `fine_tuning.json` has what that does not: the task, the
protocol, and how long texts are divided.
"""

import shutil
from pathlib import Path
from typing import Any

from ..configs.errors import UserError
from ..storage.files import stage_directory
from .fine_tuning.card import fine_tuned_card
from .fine_tuning.fine_tuned import FineTuned
from .fine_tuning.heads import UnpaddedModel, open_head
from .fine_tuning.reference import write_reference
from .models.model import open_tokenizer
from .saved_settings import SETTINGS, Settings, read_settings
from .seed_file import as_lines
from .suite import Evaluation, Outcome, kind_of

PREDICTIONS = "predictions.jsonl"
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model",
)  # fmt: skip


def save_fine_tuned(
    outcome: Outcome, evaluation: Evaluation, base: str, seed: int, identity: str, directory: Path
) -> None:
    """Write the directory, complete or not at all.

    Args:
        base: name of the model that was fine-tuned.
        identity: of what the model was computed from.
    Raises:
        UserError: the directory exists and is not empty.
    """
    fine_tuned, splits, scores = outcome.fine_tuned, outcome.splits, outcome.scores
    assert isinstance(fine_tuned, FineTuned)
    assert splits is not None
    assert fine_tuned.choice is not None
    classifier = fine_tuned.classifier
    settings = settings_of(
        outcome,
        evaluation,
        base,
        seed,
        identity,
        head=classifier.config,
        unpadded=isinstance(classifier, UnpaddedModel),
        max_length=fine_tuned.max_length,
        tuned=fine_tuned.tuned,
    )
    card = fine_tuned_card(
        base,
        evaluation.name,
        classifier.config,
        splits,
        evaluation.protocol,
        seed,
        scores,
        fine_tuned.choice,
        fine_tuned.tuned,
    )
    with stage_directory(directory) as staging:
        classifier.save(staging)
        write_around(outcome, settings, card, fine_tuned.tokenizer_directory, staging)
        write_reference(classifier, fine_tuned, staging)


def settings_of(
    outcome: Outcome, evaluation: Evaluation, base: str, seed: int, identity: str, **facts: Any
) -> Settings:
    """What a kept model says of itself; `facts` are of the model."""
    return Settings(
        name=evaluation.name,
        base=base,
        task=evaluation.task,
        protocol=evaluation.protocol,
        seed=seed,
        identity=identity,
        scores={name: float(value) for name, value in outcome.scores.items()},
        **facts,
    )


def write_around(outcome: Outcome, settings: Settings, card: str, tokenizer: Path, directory: Path) -> None:
    """Write what belongs to every kept model but its weights: tokenizer, settings, card and predictions.

    Args:
        tokenizer: directory of the tokenizer's files.
    """
    for name in _TOKENIZER:
        if (file := tokenizer / name).is_file():
            shutil.copyfile(file, directory / name)
    (directory / SETTINGS).write_text(settings.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (directory / "README.md").write_text(card, encoding="utf-8")
    (directory / PREDICTIONS).write_text(as_lines(outcome.records), encoding="utf-8")


def open_fine_tuned(directory: Path) -> FineTuned:
    """Open what `save_fine_tuned` wrote.

    Raises:
        UserError: it is not such a directory, or one of its files is damaged.
    """
    settings = read_settings(directory)
    if settings.head is None:
        raise UserError(f"{directory}: a model of vectors; use `cmbert embed`")
    tokenizer = open_tokenizer(directory)
    classifier = open_head(directory, settings.head, tokenizer.pad_token_id or 0, settings.unpadded)
    return FineTuned(
        classifier,
        tokenizer,
        directory,
        settings.max_length,
        kind_of(settings.task),
        settings.task,
        settings.head.labels,
        settings.tuned,
    )
