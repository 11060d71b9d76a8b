"""What a run starts from, checked against its data without torch: commands report a misfit before ranks start.

Ranks call the same functions, since other launchers start them without a check.
"""

import json
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ...model.config import ModelConfig
from ...model.hugging_face_config import read_config, read_json
from ...streaming_data.loader.config import DataConfig
from ...streaming_data.loader.dataset import PackDataset, open_dataset, read_tokenizer
from ...streaming_data.shards.manifest import DataManifest
from ...streaming_data.shards.restricted import every_source, share_unless_restricted
from .config import ContextConfig, RunConfig


def starting_model(config: RunConfig) -> ModelConfig:
    """The architecture of the run's model, from the recipe or from config.json in `initial_weights` and `context`.

    Raises:
        UserError: config.json cannot be read or is unsupported, or the run has sequences that are longer than the
            model allows.
    """
    directory = config.initial_weights
    if directory is None:
        assert config.model is not None
        model, where = config.model, "model.max_position_embeddings"
    else:
        model, where = read_config(directory), f"{directory / 'config.json'}: max_position_embeddings"
        if config.context:
            model, where = extended(model, config.context), "context.max_position_embeddings"
    limit = model.max_position_embeddings
    stages = [stage.max_seqlen for stage in config.schedule.seq_length]
    lengths = {"schedule.seq_length": max(stages)} if stages else {"data.seq_length": config.data.seq_length}
    if config.validation.every_steps:
        lengths["data.seq_length, in validation"] = config.data.seq_length
    if too_long := {key: length for key, length in lengths.items() if length > limit}:
        seen = " and ".join(f"{length:,} tokens ({key})" for key, length in too_long.items())
        raise UserError(
            f"{where} is {limit:,}, but the run has sequences of up to {seen}: limit schedule.seq_length to stages of "
            f"at most {limit:,} and set validation.every_steps=0, or prepare the data with seq_length {limit}"
        )
    return model


def extended(model: ModelConfig, context: ContextConfig) -> ModelConfig:
    """The architecture with a longer context: the same parameters, other angles in its global layers.

    Raises:
        UserError: the context is not longer, or the base of RoPE is lower than before.
    """
    for key, value in context.model_dump().items():
        if value < (before := getattr(model, key)):
            raise UserError(
                f"context.{key} is {value:g}, below the {before:g} of the model that is extended: give at least that, "
                "or leave out the section context"
            )
    return model.model_copy(update=context.model_dump())


def require_weights(directory: Path) -> None:
    """Require that a Hugging Face directory holds a file of weights.

    Raises:
        UserError: it does not.
    """
    names = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    if not any((directory / name).is_file() for name in names):
        raise UserError(f"{directory}: no weights; expected {', '.join(names[:-1])} or {names[-1]}")


def share_run_unless_restricted(config: RunConfig, manifest: DataManifest) -> None:
    """Let others read what the run writes, as the user's umask allows, if nothing that it starts from is restricted.

    That is its data and the model that it continues, whose sources are known if `cmbert export` wrote it.

    Args:
        manifest: of the run's data.
    """
    share_unless_restricted(every_source(manifest.sources, initial_sources(config)))


def initial_sources(config: RunConfig) -> dict[str, object]:
    """The sources on which the model to continue was trained, by name, if `cmbert export` wrote it; else none."""
    exported = config.initial_weights / "training.json" if config.initial_weights else None
    content = read_json(exported) if exported and exported.is_file() else {}
    return every_source(content.get("sources") or {}, content.get("initial_sources") or {})


def open_validation(config: DataConfig, seed: int) -> PackDataset:
    """The held-out packs of every source, independent of its share in training and of the masking strategy there."""
    always = {"weights": None, "max_epochs": None, "masking": "token"}
    return open_dataset(config.model_copy(update=always), seed, "held_out")


def require_same_tokenizer(model: Path, dataset: PackDataset) -> None:
    """Require that the data was tokenized with the tokenizer in the model's directory, if it has one.

    Raises:
        UserError: it was not.
    """
    path = model / "tokenizer.json"
    if path.is_file() and _tokens(read_json(path)) != _tokens(json.loads(read_tokenizer(dataset.address))):
        raise UserError(
            f"{dataset.address} was prepared with another tokenizer than that of {model}: every token would mean "
            f"something else. Prepare the same sources again with `tokenizer: {model}`, or continue from the directory "
            "that `cmbert tokenizer extend` wrote"
        )


def _tokens(tokenizer: dict[str, Any]) -> tuple[Any, dict[int, str]]:
    """The vocabulary and the added tokens of a tokenizer.json."""
    added = tokenizer.get("added_tokens", [])
    return tokenizer.get("model", {}).get("vocab"), {token["id"]: token["content"] for token in added}


def require_fitting_tokenizer(model: ModelConfig, dataset: PackDataset) -> None:
    """Require that the model's token ids and vocabulary size fit the data's tokenizer.

    Raises:
        UserError: they do not.
    """
    tokenizer = dataset.manifest.tokenizer
    special = tokenizer.special_ids
    expected = {f"{name}_token_id": getattr(special, name) for name in ("pad", "cls", "sep")}
    wrong = [
        f"{key} is {getattr(model, key)}, not {value}"
        for key, value in expected.items()
        if getattr(model, key) != value
    ]
    if model.vocab_size < tokenizer.vocab_size:
        wrong.append(f"vocab_size is {model.vocab_size:,}, below {tokenizer.vocab_size:,}")
    if wrong:
        raise UserError(
            f"the model does not fit the tokenizer of {dataset.address}: {'; '.join(wrong)}. From scratch, set these "
            "keys of the model section; to continue a model, prepare the data with that model's own tokenizer"
        )
