"""Clinical ModernBERT: pretraining of long-context clinical and biomedical encoders."""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

__version__ = "0.1.0"
_Model = TypeVar("_Model", bound="nn.Module")


def accelerate(model: _Model, backend: str = "auto") -> _Model:
    """Run a ModernBERT of transformers without padding, in place: see `model.accelerate.accelerate`."""
    from .model.accelerate import accelerate as replace_forward

    return replace_forward(model, backend)
