"""Files for sentence-transformers and PyLate, next to a model of transformers: how hidden states become vectors."""

import json
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from torch import Tensor


def write_sentence_embedding(
    hidden_size: int,
    max_length: int,
    directory: Path,
    pooling: Literal["mean", "cls"] = "mean",
    normalize: bool = False,
) -> None:
    """Add modules.json and the files it refers to: a text has one vector.

    Args:
        max_length: tokens of the longest sequence.
        normalize: whether vectors get length 1.
    """
    prefix = "sentence_transformers.models"
    _write_modules([f"{prefix}.Pooling", *([f"{prefix}.Normalize"] if normalize else [])], max_length, directory)
    key = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
    modes = {name: kind == pooling for kind, name in key.items()}
    _write(directory / "1_Pooling" / "config.json", {"word_embedding_dimension": hidden_size, **modes})
    if normalize:
        (directory / "2_Normalize").mkdir()


def write_late_interaction(projection: Tensor, max_length: int, directory: Path) -> None:
    """Add modules.json and the files it refers to, as `pylate.models.ColBERT` reads them: a token has one vector.

    Queries and documents are as they are: no marker before them, no mask tokens after them, and no word left out.

    Args:
        projection: of hidden states to the vectors of tokens, (k, d).
        max_length: tokens of the longest sequence.
    """
    _write_modules(["pylate.models.Dense.Dense"], max_length, directory)
    columns, rows = projection.shape
    dense = {"in_features": rows, "out_features": columns, "bias": False, "use_residual": False}
    identity = "torch.nn.modules.linear.Identity"
    _write(directory / "1_Dense" / "config.json", {**dense, "activation_function": identity})
    save_file({"linear.weight": projection.detach().cpu().contiguous()}, directory / "1_Dense" / "model.safetensors")
    lengths = {"query_length": max_length, "document_length": max_length}
    markers = {"query_prefix": "", "document_prefix": "", "skiplist_words": []}
    expansion = {"do_query_expansion": False, "attend_to_expansion_tokens": False}
    settings = {"similarity_fn_name": "MaxSim", **lengths, **markers, **expansion}
    _write(directory / "config_sentence_transformers.json", settings)


def _write_modules(types: list[str], max_length: int, directory: Path) -> None:
    """The modules after the transformer, each in a directory with its number and the last part of its type."""
    modules = [
        {"idx": number, "name": str(number), "path": f"{number}_{kind.split('.')[-1]}" if number else "", "type": kind}
        for number, kind in enumerate(["sentence_transformers.models.Transformer", *types])
    ]
    _write(directory / "modules.json", modules)
    _write(directory / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
