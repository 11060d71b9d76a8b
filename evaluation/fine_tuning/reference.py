"""Reference inputs and outputs: what any runtime must compute from a saved model.

The texts are synthetic: of one word, of a sentence, and one longer than a local window, where runtimes that misread
windows or RoPE bases differ.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..models.tokens import Tokenizes, encode_texts
from .heads import ModelWithHead

FILE = "reference.json"
TEXTS = (
    "Fever.",
    "The patient was admitted with chest pain and given 81 mg aspirin.",
    " ".join(f"On day {day} the temperature was {36 + day % 4}.{day % 10} and the wound was dry." for day in range(40)),
)
SIGNIFICANT = 7
"""Digits of a logit: all that fp32 has."""


@torch.no_grad()
def write_reference(classifier: ModelWithHead, model: Tokenizes, directory: Path) -> None:
    """Write reference.json into a directory: texts, token ids, and logits of the texts or of all their tokens."""
    sequences = encode_texts(model, TEXTS)
    logits = [classifier([ids])[0 if classifier.config.rows == "texts" else slice(None)] for ids in sequences]
    content = {
        "inputs": [{"text": text, "input_ids": ids.tolist()} for text, ids in zip(TEXTS, sequences, strict=True)],
        "outputs": [_rounded(rows.tolist()) for rows in logits],
    }
    (directory / FILE).write_text(json.dumps(content) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, Sequence):
        return [_rounded(part) for part in value]
    return float(f"{value:.{SIGNIFICANT}g}")
