"""A task that very small encoders learn: which of two words is in a text."""

import random

import torch

from clinical_modernbert.evaluation.fine_tuning.classifier import Example
from clinical_modernbert.evaluation.fine_tuning.head_config import HeadConfig
from clinical_modernbert.evaluation.models.model import EvaluatedModel

from ..conftest import WORDS

TWO = HeadConfig(rows="texts", labels=("a", "b"))


def examples(model: EvaluatedModel, count: int, seed: int) -> list[Example]:
    """Texts of random words; the class is which of two words occurs in them."""
    generator = random.Random(seed)
    out = []
    for _ in range(count):
        words = generator.choices(WORDS[2:], k=generator.randint(3, 9))
        label = generator.randint(0, 1)
        words[generator.randrange(len(words))] = WORDS[label]
        ids = model.tokenizer(" " + " ".join(words))["input_ids"]
        out.append(Example((torch.tensor(ids),), torch.tensor([label])))
    return out
