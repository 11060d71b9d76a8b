"""What a run starts from, checked against its data without torch: commands report a misfit before ranks start.

Ranks call the same functions, since other launchers start them without a check.
"""

import json
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ...model.checkpoint_weights import is_checkpoint, read_checkpointed_model
from ...model.config import ModelConfig
from ...model.hugging_face_config import WEIGHT_FILES, read_json
from ...model.origin import WeightsOrigin
from ...model.start import Start, open_start
from ...storage.hub import is_hub_name
from ...streaming_data.loader.config import DataConfig
from ...streaming_data.loader.dataset import PackDataset, open_dataset, read_tokenizer
from ...streaming_data.shards.manifest import DataManifest, SpecialIds
from ...streaming_data.shards.restricted import every_source, share_unless_restricted
from .config import ContextConfig, RunConfig


def starting_model(config: RunConfig) -> ModelConfig:
    """The architecture of the run's model, from the recipe or from `initial_weights` and `context`.

    Raises:
        UserError: the config of the initial weights cannot be read or is unsupported, they have no head and the recipe
            does not make a new one, or the run has sequences that are longer than the model allows.
    """
    start = open_initial(config)
    if start is None:
        assert config.model is not None
        model, where = config.model, "model.max_position_embeddings"
    else:
        model = start.config
        where = f"{start.path / 'config.json' if start.path.is_dir() else start.path}: max_position_embeddings"
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


def open_initial(config: RunConfig) -> Start | None:
    """What a run starts from, without its weights; None if it trains from scratch.

    Raises:
        UserError: it cannot be read, or has no head for masked tokens and the recipe does not make a new one.
    """
    if config.initial_weights is None:
        return None
    start = open_start(config.initial_weights)
    if not start.parsed.has_head and not config.new_head:
        raise UserError(
            f"{start.address}: its architecture has no head for masked tokens; new_head=true takes its encoder, and "
            "makes the head and the decoder's bias new from the seed"
        )
    return start


def initial_origin(config: RunConfig) -> WeightsOrigin | None:
    """Where the weights come from that the run starts with, for its checkpoints."""
    start = open_initial(config)
    return start and start.origin(config.seed if config.new_head else None)


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
    """Require that a Hugging Face directory holds a file of weights. Other starts are checked when they are opened.

    Raises:
        UserError: it does not.
    """
    if directory.is_file() or is_hub_name(directory) or is_checkpoint(directory):
        return
    if not any((directory / name).is_file() for name in WEIGHT_FILES):
        raise UserError(f"{directory}: no weights; expected {', '.join(WEIGHT_FILES[:-1])} or {WEIGHT_FILES[-1]}")


def share_run_unless_restricted(config: RunConfig, manifest: DataManifest) -> None:
    """Let others read what the run writes, as the user's umask allows, if nothing that it starts from is restricted.

    That is its data and the model that it continues, whose sources are known if `cmbert export` wrote it.

    Args:
        manifest: of the run's data.
    """
    share_unless_restricted(every_source(manifest.sources, initial_sources(config)))


def initial_sources(config: RunConfig) -> dict[str, object]:
    """The sources on which the model to continue was trained, by name, if it was trained here; else none."""
    if config.initial_weights is None:
        return {}
    return sources_of(open_start(config.initial_weights))


def sources_of(start: Start) -> dict[str, object]:
    """The sources on which a model was trained, if it is a checkpoint or `cmbert export` wrote it; else none."""
    if start.kind == "checkpoint":
        known = read_checkpointed_model(start.path)
        return every_source(known.sources, known.initial_sources)
    exported = start.path / "training.json"
    content = read_json(exported) if exported.is_file() else {}
    return every_source(content.get("sources") or {}, content.get("initial_sources") or {})


def open_validation(config: DataConfig, seed: int) -> PackDataset:
    """The held-out packs of every source, independent of its share in training and of the masking strategy there."""
    always = {"weights": None, "max_epochs": None, "masking": "token"}
    return open_dataset(config.model_copy(update=always), seed, "held_out")


def require_same_tokenizer(start: Start, dataset: PackDataset) -> None:
    """Require that the data was tokenized with the tokenizer of the model, if it has one.

    Raises:
        UserError: it was not.
    """
    own = start.tokenizer_json()
    if own is not None and _tokens(own) != _tokens(json.loads(read_tokenizer(dataset.address))):
        where = start.tokenizer if isinstance(start.tokenizer, Path) else "DIRECTORY of `cmbert import`"
        raise UserError(
            f"{dataset.address} was prepared with another tokenizer than that of {start.address}: every token would "
            f"mean something else. Prepare the same sources again with `tokenizer: {where}`, or continue from the "
            "directory that `cmbert tokenizer extend` wrote"
        )


def adopt_token_ids(model: ModelConfig, start: Start | None, special: SpecialIds) -> ModelConfig:
    """The model with the token ids of the data, if the tokenizer of both is the same.

    The tokenizer decides with which tokens texts begin and end, and config.json may name others, as mmBERT's does.

    Args:
        special: of the data's tokenizer.
    """
    if start is None or start.tokenizer_json() is None:
        return model
    return model.model_copy(update={f"{name}_token_id": getattr(special, name) for name in ("pad", "cls", "sep")})


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
