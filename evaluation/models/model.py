"""What is evaluated: an encoder, its tokenizer, and how tokens pass through it.

Our models compute packed tensors without padding; any other encoder goes through transformers' AutoModel, padded. Tasks
see neither: to them both are an `Encode`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

from ...configs.errors import UserError
from ...kernels.packed import PackedBatch
from ...model.hugging_face import from_pretrained
from ...model.masked_lm import MaskedLM

Encode = Callable[[nn.Module, Sequence[Tensor]], Tensor]
"""(encoder, B sequences of token ids, each int64 (n,)) -> hidden states laid end to end, (T, d) with T the sum of n."""

MaskedLogits = Callable[[Sequence[Tensor], Tensor], Tensor]
"""(B sequences of token ids, int64 (M,) places among their T tokens) -> scores (M, V) of the vocabulary there."""

_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model.bin"]


@dataclass(frozen=True)
class Subject:
    """An encoder to evaluate.

    Attributes:
        name: in tables.
        encoder: with the weights to start from, in evaluation mode; tasks train copies of it.
        encode: how token ids pass through the encoder or a copy of it.
        open_masked_lm: makes the scores of masked tokens; raises UserError for an encoder without such a head.
        tokenizer: a fast tokenizer of transformers.
        hidden_size: d.
        max_length: tokens of the longest sequence, special tokens counted.
        unpadded: whether it runs as packed tensors.
        identity: a hash of weights and tokenizer: what results belong to.
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


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def open_subject(address: str, name: str | None = None) -> Subject:
    """The encoder in a Hugging Face directory, or of that name on the Hub.

    A ModernBERT whose every tensor we know runs as ours, any other through transformers.

    Raises:
        UserError: there is none, a file of it is damaged, or a tensor of the encoder is missing.
    """
    directory = Path(address) if Path(address).is_dir() else _download(address)
    name = name or Path(address).name
    if _model_type(directory) == "modernbert":
        try:
            return packed_subject(from_pretrained(directory), directory, name)
        except UserError:
            # A bare encoder, or one with a head of its own: transformers reads those, and refuses what is broken.
            pass
    return padded_subject(directory, name)


def packed_subject(model: MaskedLM, tokenizer_directory: Path, name: str) -> Subject:
    """One of our models, run without padding."""
    tokenizer = _tokenizer(tokenizer_directory)
    model = model.to(device()).eval()
    return Subject(
        name=name,
        encoder=model.model,
        encode=_encode_packed,
        open_masked_lm=lambda: partial(_packed_logits, model),
        tokenizer=tokenizer,
        hidden_size=model.config.hidden_size,
        max_length=model.config.max_position_embeddings,
        unpadded=True,
        identity=_identity(model, tokenizer),
    )


def padded_subject(directory: Path, name: str) -> Subject:
    """Any encoder that transformers' AutoModel opens."""
    from transformers import AutoModel

    encoder = _load(AutoModel, directory, optional="pooler.").to(device()).eval()
    tokenizer = _tokenizer(directory)
    if tokenizer.pad_token_id is None:
        raise UserError(f"{directory}: its tokenizer has no padding token; set pad_token in tokenizer_config.json")
    positions = getattr(encoder.config, "max_position_embeddings", tokenizer.model_max_length)
    return Subject(
        name=name,
        encoder=encoder,
        encode=partial(_encode_padded, tokenizer.pad_token_id),
        open_masked_lm=lambda: _padded_masked_lm(directory, tokenizer.pad_token_id),
        tokenizer=tokenizer,
        hidden_size=encoder.config.hidden_size,
        max_length=min(positions, tokenizer.model_max_length),
        unpadded=False,
        identity=_identity(encoder, tokenizer),
    )


def _encode_packed(encoder: nn.Module, sequences: Sequence[Tensor]) -> Tensor:
    batch = PackedBatch.from_lengths([len(ids) for ids in sequences], device())
    hidden: Tensor = encoder(torch.cat(list(sequences)).to(device()), batch)
    return hidden


def _packed_logits(model: MaskedLM, sequences: Sequence[Tensor], places: Tensor) -> Tensor:
    batch = PackedBatch.from_lengths([len(ids) for ids in sequences], device())
    return model.logits(torch.cat(list(sequences)).to(device()), batch, places.to(device()))


def _encode_padded(pad_id: int, encoder: nn.Module, sequences: Sequence[Tensor]) -> Tensor:
    ids, mask = _padded(sequences, pad_id)
    hidden: Tensor = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return hidden[mask]


def _padded_masked_lm(directory: Path, pad_id: int) -> MaskedLogits:
    from transformers import AutoModelForMaskedLM

    model = _load(AutoModelForMaskedLM, directory, optional="pooler.").to(device()).eval()

    def logits(sequences: Sequence[Tensor], places: Tensor) -> Tensor:
        ids, mask = _padded(sequences, pad_id)
        scores: Tensor = model(input_ids=ids, attention_mask=mask.long()).logits
        return scores[mask][places.to(scores.device)]

    return logits


def _padded(sequences: Sequence[Tensor], pad_id: int) -> tuple[Tensor, Tensor]:
    """The sequences as rows (B, longest), and where they are real: bool (B, longest)."""
    ids = nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    return ids.to(device()), mask.to(device())


def _load(kind: Any, directory: Path, optional: str) -> Any:
    """A model of transformers; a tensor that the directory lacks would be random there, and is an error here."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model, loaded = kind.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{directory}: transformers cannot open it as an encoder ({reason})") from error
    if missing := sorted(name for name in loaded["missing_keys"] if not name.startswith(optional)):
        raise UserError(
            f"{directory}: {len(missing)} tensors are missing, such as {missing[0]}, and would be random; name a "
            f"directory that holds all of {kind.__name__}'s"
        )
    return model


def _tokenizer(directory: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{directory}: no tokenizer that transformers can read ({type(error).__name__})") from error
    if not tokenizer.is_fast:
        raise UserError(f"{directory}: its tokenizer has no tokenizer.json, which tells where in the text a token lies")
    return tokenizer


def _model_type(directory: Path) -> str | None:
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{directory}: no readable config.json; expected a run, an export, or a Hugging Face model"
        ) from error
    return config.get("model_type") if isinstance(config, dict) else None


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED))
    except Exception as error:  # of the network, of names, of authorisation: each library below raises its own
        raise UserError(
            f"{name}: no such directory, and it cannot be fetched from the Hugging Face Hub ({type(error).__name__}); "
            "check the name, or download the model first and name its directory"
        ) from error


def _identity(model: nn.Module, tokenizer: Any) -> str:
    digest = xxhash.xxh3_128(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
