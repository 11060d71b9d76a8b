"""Types of the fixtures that make models and their inputs."""

from collections.abc import Callable

import transformers
from torch import Tensor

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.masked_lm import MaskedLM

RandomConfig = Callable[[int], ModelConfig]
RandomModel = Callable[..., MaskedLM]
Packed = Callable[..., tuple[Tensor, PackedBatch]]
Padded = Callable[..., tuple[Tensor, Tensor]]
Reference = Callable[..., transformers.PreTrainedModel]
