"""Files for sentence-transformers, next to a model of transformers: how hidden states become the vector of a text."""

import json
from pathlib import Path
from typing import Literal


def write_sentence_embedding(
    hidden_size: int,
    max_length: int,
    directory: Path,
    pooling: Literal["mean", "cls"] = "mean",
    normalize: bool = False,
) -> None:
    """Add modules.json and the files it refers to.

    Args:
        max_length: tokens of the longest sequence.
        normalize: whether vectors get length 1.
    """
    names = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{name}" if number else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for number, name in enumerate(names)
    ]
    key = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
    modes = {name: kind == pooling for kind, name in key.items()}
    for name, content in (
        ("modules.json", modules),
        ("1_Pooling/config.json", {"word_embedding_dimension": hidden_size, **modes}),
        ("sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False}),
    ):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if normalize:
        (directory / "2_Normalize").mkdir()
