"""An encoder with a new head: one linear layer over the words or over the texts, in the layout of transformers.

A model of this project computes packed tensors; its parameters have the names of transformers' ModernBertFor...
classes. Any other encoder is one of transformers' own AutoModelFor... classes and runs padded. Both are saved as
directories from which transformers computes the same logits.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ...configs.errors import UserError
from ...model.config import ModelConfig
from ...model.encoder import Encoder
from ...model.hugging_face_config import read_config, write_config
from ...model.masked_lm import PredictionHead
from ...model.weight_files import read_directory
from ..models.model import EvaluatedModel, device, encode_packed, load_pretrained, pad
from ..models.pooling import pool
from .head_config import HeadConfig

_CLASSES = {
    "tokens": "ForTokenClassification",
    "texts": "ForSequenceClassification",
    "spans": "ForQuestionAnswering",
}
_HEADS = ("pooler.", "classifier.", "qa_outputs.", "head.", "pre_classifier.", "score.", "logits_proj.")
"""How the names of parameters begin that a new head of transformers has and its encoder does not."""


class ModelWithHead(nn.Module):
    """An encoder and its head.

    A head of numbers learns them scaled: the last layer's output is a number's difference from `mean` in `deviation`s.
    After training both become part of that layer, so that transformers computes numbers in their unit too.

    Attributes:
        padded: whether sequences are computed as long as the longest of them.
    """

    config: HeadConfig
    padded: bool
    mean = 0.0
    deviation = 1.0

    def set_unit(self, mean: float, deviation: float) -> None:
        """Compute numbers of this mean and standard deviation."""
        self.mean, self.deviation = mean, deviation or 1.0

    def in_unit(self, logits: Tensor) -> Tensor:
        """What the last layer computed, in fp32 and in the unit of the labels."""
        if self.config.problem != "number":
            return logits.float()
        return logits.float() * self.deviation + self.mean

    @torch.no_grad()
    def keep_unit(self) -> None:
        """Make the unit part of the last layer, after training."""
        if self.config.problem == "number":
            last = [part for part in self.modules() if isinstance(part, nn.Linear)][-1]
            last.weight.mul_(self.deviation)
            last.bias.mul_(self.deviation).add_(self.mean)
            self.set_unit(0.0, 1.0)

    def forward(self, sequences: Sequence[Tensor], positions: Tensor | None = None) -> Tensor:
        """Logits in fp32: (B, C) of texts; else (K, C) at K positions of the T concatenated tokens, or at all (T, C).

        Args:
            sequences: B sequences of token ids, each int64 (n,).
        """
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        """Write config.json and the weights into an existing directory."""
        raise NotImplementedError


class UnpaddedModel(ModelWithHead):
    """A ModernBERT of this project. The head begins as that of the masked language model."""

    padded = False

    def __init__(self, encoder: Encoder, head: PredictionHead, model_config: ModelConfig, config: HeadConfig) -> None:
        super().__init__()
        self.model_config, self.config = model_config, config
        self.model = encoder
        self.head = head
        self.drop = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(model_config.hidden_size, len(config.labels), device=device())
        nn.init.normal_(self.classifier.weight, std=model_config.hidden_size**-0.5)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, sequences: Sequence[Tensor], positions: Tensor | None = None) -> Tensor:
        hidden = encode_packed(self.model, sequences)
        if self.config.rows == "texts":
            hidden = pool(hidden, [len(ids) for ids in sequences], self.config.pooling)
        elif positions is not None:
            hidden = hidden[positions.to(hidden.device)]
        return self.in_unit(self.classifier(self.drop(self.head(hidden))))

    def save(self, directory: Path) -> None:
        entries = {"architectures": [f"ModernBert{_CLASSES[self.config.rows]}"], **self.config.entries()}
        save_as(self, self.model_config, entries, directory)


class PaddedModel(ModelWithHead):
    """Any encoder of transformers. Pooling of texts is its own."""

    padded = True
    transformer: Any

    def __init__(self, model: Any, pad_id: int, config: HeadConfig) -> None:
        super().__init__()
        self.transformer, self.pad_id, self.config = model, pad_id, config

    def forward(self, sequences: Sequence[Tensor], positions: Tensor | None = None) -> Tensor:
        ids, mask = pad(sequences, self.pad_id)
        output = self.transformer(input_ids=ids, attention_mask=mask.long())
        if self.config.rows == "texts":
            return self.in_unit(output.logits)
        spans = self.config.rows == "spans"
        logits = torch.stack([output.start_logits, output.end_logits], -1) if spans else output.logits
        rows = logits[mask]
        return (rows if positions is None else rows[positions.to(rows.device)]).float()

    def save(self, directory: Path) -> None:
        self.transformer.save_pretrained(directory)


def save_as(model: nn.Module, config: ModelConfig, entries: dict[str, Any], directory: Path) -> None:
    """Write config.json, with these entries too, and all weights of a ModernBERT of this project, in fp32."""
    path = directory / "config.json"
    write_config(config, torch.float32, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | entries, indent=2, sort_keys=True) + "\n")
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def add_head(model: EvaluatedModel, config: HeadConfig) -> ModelWithHead:
    """A copy of the encoder with a new head, whose random weights are drawn from torch's generator."""
    if (base := model.masked_lm) is not None:
        return UnpaddedModel(deepcopy(base.model), deepcopy(base.head), base.config, config)
    transformer = _load_transformer(model.directory, config, config.entries())
    return PaddedModel(transformer, model.tokenizer.pad_token_id, config).to(device())


def open_head(directory: Path, config: HeadConfig, pad_id: int, unpadded: bool) -> ModelWithHead:
    """Open what `save` wrote, in evaluation mode.

    Args:
        unpadded: whether an UnpaddedModel wrote it.
    Raises:
        UserError: the weights are not those of the model.
    """
    if not unpadded:
        return PaddedModel(_load_transformer(directory, config, {}, new=()), pad_id, config).to(device()).eval()
    model_config = read_config(directory)
    model = UnpaddedModel(Encoder(model_config), PredictionHead(model_config), model_config, config)
    try:
        model.load_state_dict(read_directory(directory))
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise UserError(f"{directory}: not the weights of this model ({reason}); fine-tune it again") from error
    return model.to(device()).eval()


def _load_transformer(
    directory: Path, config: HeadConfig, settings: dict[str, Any], new: tuple[str, ...] = _HEADS
) -> Any:
    import transformers

    kind = getattr(transformers, f"AutoModel{_CLASSES[config.rows]}")
    model_config = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=False)
    for key, value in settings.items():
        setattr(model_config, key, value)
    return load_pretrained(kind, directory, optional=new, config=model_config)
