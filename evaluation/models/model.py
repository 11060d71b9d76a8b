"""The model to evaluate: an encoder, its tokenizer, and the function that encodes token ids.

This project's models compute packed tensors without padding. Any other encoder runs padded, through transformers'
AutoModel. Tasks do not depend on either; they use an `Encode` function.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

from ...configs.errors import UserError
from ...kernels.packed import PackedBatch
from ...model.hugging_face import assemble, from_pretrained
from ...model.masked_lm import MaskedLM
from ...model.start import open_start
from ...streaming_data.tokenizer.special_tokens import roles_as_text, structural_tokens
from .addresses import find_model, model_type

Encode = Callable[[nn.Module, Sequence[Tensor]], Tensor]
"""(encoder, B sequences of token ids, each int64 (n,)) -> concatenated hidden states (T, d), T the sum of all n."""

MaskedLogits = Callable[[Sequence[Tensor], Tensor], Tensor]
"""(B sequences of token ids, int64 (M,) positions among their T tokens) -> scores of the vocabulary (M, V)."""


@dataclass(frozen=True)
class EvaluatedModel:
    """An encoder to evaluate.

    Attributes:
        name: shown in tables.
        encoder: with its initial weights, in evaluation mode; tasks train copies of it.
        encode: computes hidden states with the encoder or a copy of it.
        open_masked_lm: returns the scoring function for masked tokens; raises UserError if there is no such head.
        tokenizer: a fast tokenizer of transformers.
        hidden_size: d.
        max_length: tokens of the longest sequence, including special tokens.
        unpadded: whether it computes packed tensors.
        identity: hash of weights and tokenizer, which identifies results.
        directory: holds its tokenizer; and its weights, if transformers computes it.
        masked_lm: the complete model, if it is one of this project.
    """

    name: str
    encoder: nn.Module
    encode: Encode
    open_masked_lm: Callable[[], MaskedLogits]
    tokenizer: Any
    hidden_size: int
    max_length: int
    unpadded: bool
    identity: str
    directory: Path
    masked_lm: MaskedLM | None = None


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def open_model(address: str, name: str | None = None) -> EvaluatedModel:
    """Open the encoder in a Hugging Face directory, or with that name on the Hub.

    A ModernBERT runs as a model of this project if its encoder has exactly its tensors, whatever head it has; any other
    encoder runs with transformers.

    Raises:
        UserError: there is no such model, one of its files is corrupt, or a tensor of the encoder is missing.
    """
    directory = find_model(address)
    name = name or Path(address).name
    if model_type(directory) == "modernbert":
        try:
            return packed_model(from_pretrained(directory), directory, name)
        except UserError:
            with suppress(UserError):
                return _packed_encoder(directory, name)
            # Neither: transformers reads it, or raises the error to show.
    return padded_model(directory, name)


def packed_model(model: MaskedLM, tokenizer_directory: Path, name: str) -> EvaluatedModel:
    """A model of this project, which runs without padding."""
    tokenizer = open_tokenizer(tokenizer_directory)
    model = model.to(device()).eval()
    return EvaluatedModel(
        name=name,
        encoder=model.model,
        encode=encode_packed,
        open_masked_lm=lambda: partial(_packed_logits, model),
        tokenizer=tokenizer,
        hidden_size=model.config.hidden_size,
        max_length=model.config.max_position_embeddings,
        unpadded=True,
        identity=_identity(model, tokenizer),
        directory=tokenizer_directory,
        masked_lm=model,
    )


def _packed_encoder(directory: Path, name: str) -> EvaluatedModel:
    """An encoder without a head, or with that of another task: what fine-tuning leaves of a ModernBERT."""
    start = open_start(directory)
    model = assemble(start.config, start.read(new_head_seed=0))  # the head is not used
    opened = packed_model(model, directory, name)
    return replace(
        opened,
        open_masked_lm=lambda: _padded_masked_lm(directory, model.config.pad_token_id),
        identity=_identity(model.model, opened.tokenizer),
    )


def padded_model(directory: Path, name: str) -> EvaluatedModel:
    """An encoder opened with transformers' AutoModel."""
    from transformers import AutoModel

    encoder = load_pretrained(AutoModel, directory, optional="pooler.").to(device()).eval()
    tokenizer = open_tokenizer(directory)
    if tokenizer.pad_token_id is None:
        raise UserError(f"{directory}: its tokenizer has no padding token; set pad_token in tokenizer_config.json")
    positions = _usable_positions(encoder) or tokenizer.model_max_length
    return EvaluatedModel(
        name=name,
        encoder=encoder,
        encode=partial(_encode_padded, tokenizer.pad_token_id),
        open_masked_lm=lambda: _padded_masked_lm(directory, tokenizer.pad_token_id),
        tokenizer=tokenizer,
        hidden_size=encoder.config.hidden_size,
        max_length=min(positions, tokenizer.model_max_length),
        unpadded=False,
        identity=_identity(encoder, tokenizer),
        directory=directory,
    )


def _usable_positions(encoder: nn.Module) -> int | None:
    """Tokens of the longest sequence. RoBERTa's family counts positions from the one after its padding index."""
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    limit: int | None = getattr(encoder.config, "max_position_embeddings", None)
    return limit


def encode_packed(encoder: nn.Module, sequences: Sequence[Tensor]) -> Tensor:
    """Hidden states of this project's encoder; an `Encode`."""
    batch = PackedBatch.from_lengths([len(ids) for ids in sequences], device())
    hidden: Tensor = encoder(torch.cat(list(sequences)).to(device()), batch)
    return hidden


def _packed_logits(model: MaskedLM, sequences: Sequence[Tensor], positions: Tensor) -> Tensor:
    batch = PackedBatch.from_lengths([len(ids) for ids in sequences], device())
    return model.logits(torch.cat(list(sequences)).to(device()), batch, positions.to(device()))


def _encode_padded(pad_id: int, encoder: nn.Module, sequences: Sequence[Tensor]) -> Tensor:
    ids, mask = pad(sequences, pad_id)
    hidden: Tensor = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return hidden[mask]


def _padded_masked_lm(directory: Path, pad_id: int) -> MaskedLogits:
    from transformers import AutoModelForMaskedLM

    model = load_pretrained(AutoModelForMaskedLM, directory, optional="pooler.").to(device()).eval()

    def logits(sequences: Sequence[Tensor], positions: Tensor) -> Tensor:
        ids, mask = pad(sequences, pad_id)
        scores: Tensor = model(input_ids=ids, attention_mask=mask.long()).logits
        return scores[mask][positions.to(scores.device)]

    return logits


def pad(sequences: Sequence[Tensor], pad_id: int) -> tuple[Tensor, Tensor]:
    """The sequences as rows (B, longest), and a mask of the real tokens, bool (B, longest)."""
    ids = nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    return ids.to(device()), mask.to(device())


def load_pretrained(kind: Any, directory: Path, optional: str | tuple[str, ...], **settings: Any) -> Any:
    """Load a model with transformers. A missing tensor is an error; transformers would initialize it randomly.

    Args:
        optional: how the names of tensors begin that may be missing.
        settings: further arguments of `from_pretrained`.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # its report of missing tensors: they are checked below
    try:
        model, loaded = kind.from_pretrained(
            directory, dtype=torch.float32, output_loading_info=True, trust_remote_code=False, **settings
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{directory}: transformers cannot open it as an encoder ({reason})") from error
    prefix = f"{model.base_model_prefix}."
    if missing := sorted(n for n in loaded["missing_keys"] if not n.removeprefix(prefix).startswith(optional)):
        raise UserError(
            f"{directory}: {len(missing)} tensors are missing, such as {missing[0]}, and would be random; use a "
            f"directory with all tensors of {kind.__name__}"
        )
    return model


def open_tokenizer(directory: Path) -> Any:
    """A fast tokenizer of transformers, to which special tokens written in a text are what they are in packs."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{directory}: no tokenizer that transformers can read ({type(error).__name__})") from error
    if not tokenizer.is_fast:
        raise UserError(f"{directory}: its tokenizer has no tokenizer.json, which is needed for the offsets of tokens")
    tokenizer._tokenizer = roles_as_text(tokenizer.backend_tokenizer, structural_tokens(tokenizer.special_tokens_map))
    tokenizer.split_special_tokens = True
    return tokenizer


def _identity(model: nn.Module, tokenizer: Any) -> str:
    digest = xxhash.xxh3_128(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
