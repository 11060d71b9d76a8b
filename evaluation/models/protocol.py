"""The protocol of fine-tuning, as plain values: a task file is read without torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

Pooling = Literal["mean", "cls"]


class Protocol(BaseModel):
    """Fine-tuning hyperparameters; the defaults are those of BioClinical ModernBERT (arXiv 2506.10896)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: PositiveFloat = Field(2e-5, description="peak learning rate")
    weight_decay: NonNegativeFloat = Field(0.01, description="of matrices only")
    epochs: PositiveInt = 3
    batch: PositiveInt = Field(16, description="examples per step")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps; then linear decay to zero")
    dropout: float = Field(0.1, ge=0, lt=1, description="before the new linear layer")
    gradient_clipping: PositiveFloat = Field(1.0, description="maximum global norm")
    tokens: PositiveInt = Field(16_384, description="tokens computed at a time; affects memory, not results")
