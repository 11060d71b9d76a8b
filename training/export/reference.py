"""The reference of an exported encoder, from synthetic notes: what transformers computes in fp32."""

import itertools
from pathlib import Path
from typing import Any

import torch

from ...model.reference import REFERENCE, Reference, ReferenceInput
from ...streaming_data.synthetic.notes import generate

_LENGTHS = (12, 100, 400, 1000, 2500)
"""Tokens, about: within a local window of 128, longer than it, and long enough for a wrong RoPE base to show."""
_NOTES = 12
_TOKENS = 32


def write_reference(directory: Path) -> None:
    """Add reference.json to an exported masked language model's directory, with its tokenizer."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    model = AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.float32, trust_remote_code=False).eval()
    inputs = _inputs(tokenizer, model.config.max_position_embeddings)
    tokens = torch.linspace(0, model.config.vocab_size - 1, _TOKENS).long()
    embeddings, logits = [], []
    with torch.no_grad():
        for one in inputs:
            hidden = model.base_model(input_ids=torch.tensor([one.input_ids])).last_hidden_state[0]
            middle = model.decoder(model.head(hidden[None, [len(hidden) // 2]]))[0, 0]
            embeddings.append(_rounded(hidden.double().mean(0)))
            logits.append(_rounded(middle[tokens]))
    reference = Reference(
        inputs=inputs, outputs={"mean_embedding": embeddings, "token_logits": logits}, tokens=tokens.tolist()
    )
    (directory / REFERENCE).write_text(reference.model_dump_json() + "\n", encoding="utf-8")


def _inputs(tokenizer: Any, longest: int) -> list[ReferenceInput]:
    """Beginnings of synthetic notes, of different lengths and at most `longest` tokens."""
    text = "\n\n".join(note["text"] for note in itertools.islice(generate(0), _NOTES))
    ends = [end for _, end in tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]]
    inputs = []
    for length in sorted({min(length, longest) for length in _LENGTHS}):
        # The cut may change the last token, so a few are left for it.
        part = text[: ends[min(max(length - 8, 1), len(ends)) - 1]]
        inputs.append(ReferenceInput(text=part, input_ids=tokenizer(part)["input_ids"]))
    return [one for one in inputs if len(one.input_ids) <= longest]


def _rounded(values: torch.Tensor) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]
