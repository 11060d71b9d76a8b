"""What the files of sentence-transformers say, of old versions and new ones, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.inference.sentence_layout import SentenceLayout, read_layout

TRANSFORMER = {"type": "sentence_transformers.models.Transformer", "path": ""}
POOLING = {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}


def layout(directory: Path, modules: Any, pooling: Any = None, **files: Any) -> SentenceLayout | None:
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling/config.json").write_text(json.dumps(pooling))
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return read_layout(directory)


def test_no_file_is_no_layout(tmp_path: Path) -> None:
    assert read_layout(tmp_path) is None


def test_keys_of_old_and_new_versions(tmp_path: Path) -> None:
    old = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    both = [TRANSFORMER, POOLING]
    assert layout(tmp_path, both, old) == ("cls", False, None, "")
    normalize = {"type": "sentence_transformers.sentence_transformer.modules.normalize.Normalize"}
    files = {
        "sentence_bert_config": {"max_seq_length": 512},
        "tokenizer_config": {"model_max_length": 256},
        "config_sentence_transformers": {"prompts": {"query": "query: "}, "default_prompt_name": "query"},
    }
    assert layout(tmp_path, [*both, normalize], {"pooling_mode": "mean"}, **files) == ("mean", True, 256, "query: ")


@pytest.mark.parametrize(
    ("modules", "pooling", "message"),
    [
        ([TRANSFORMER, {"type": "pylate.models.Dense.Dense"}], {}, "the module Dense is not supported"),
        ([TRANSFORMER, POOLING], {"pooling_mode": "max"}, "pooling by max is not supported"),
        ([TRANSFORMER, POOLING], {"pooling_mode": ["cls", "mean"]}, "pooling by cls, mean is not supported"),
        ([TRANSFORMER, POOLING], {"pooling_mode_lasttoken": True}, "pooling by lasttoken is not supported"),
        ([TRANSFORMER, POOLING], {"include_prompt": False}, "with the prompt included"),
        ([TRANSFORMER, POOLING], [], r"1_Pooling/config.json: expected \{\} with entries, found list"),
        ({}, {}, r"modules.json: expected \[\] with entries, found dict"),
        ([3], {}, "without type"),
    ],
)
def test_what_would_give_other_vectors_is_refused(tmp_path: Path, modules: Any, pooling: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        layout(tmp_path, modules, pooling)
