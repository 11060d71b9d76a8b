"""Files for sentence-transformers: the vector of a text is the mean of its hidden states."""

import json
from pathlib import Path

from ...model.config import ModelConfig


def write_sentence_embedding(config: ModelConfig, directory: Path) -> None:
    """Add modules.json and the files it refers to, in an exported model's directory."""
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    pooling = {"word_embedding_dimension": config.hidden_size, "pooling_mode_mean_tokens": True}
    transformer = {"max_seq_length": config.max_position_embeddings, "do_lower_case": False}
    (directory / "1_Pooling").mkdir()
    for name, content in (
        ("modules.json", modules),
        ("1_Pooling/config.json", pooling),
        ("sentence_bert_config.json", transformer),
    ):
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
