"""Two small recipes that a comparison compares."""

from typing import Any

from clinical_modernbert.training.recipe.config import RunConfig

PACK = 512
BASE: dict[str, Any] = {
    "run_dir": "unset",
    "model": {
        "vocab_size": 512, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
        "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2,
    },
    "data": {"path": "data", "seq_length": PACK},
    "batch": {"global_batch_size": 4, "warmup": [{"global_batch_size": 2, "until_tokens": 40 * PACK}]},
    "schedule": {
        "total_tokens": 400 * PACK, "warmup_tokens": 40 * PACK, "decay_tokens": 80 * PACK, "restarts": [200 * PACK],
        "seq_length": [{"max_seqlen": 128, "until_tokens": 200 * PACK}, {"max_seqlen": PACK}],
        "mlm_probability": [[0, 0.3], [400 * PACK, 0.15]],
    },
    "optimizer": {"lr": 1e-3},
}  # fmt: skip


def recipe(**changes: Any) -> RunConfig:
    """The recipe with some keys of its sections changed."""
    values = {**BASE, **{key: {**(BASE.get(key) or {}), **value} for key, value in changes.items()}}
    return RunConfig.model_validate(values)
