"""The protocol of fine-tuning, as plain values: a task file is read without torch."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

Pooling = Literal["mean", "cls"]
_FIRST_KEYS = {"lr", "weight_decay", "epochs", "batch", "warmup", "dropout", "gradient_clipping"}


class Protocol(BaseModel):
    """Fine-tuning hyperparameters; the defaults are those of BioClinical ModernBERT (arXiv 2506.10896)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: PositiveFloat | Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = Field(
        2e-5, description="peak learning rate; of several, the one with the best development score"
    )
    weight_decay: NonNegativeFloat = Field(0.01, description="of matrices only")
    epochs: PositiveInt = 3
    batch: PositiveInt = Field(16, description="examples per step")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps; then linear decay to zero")
    dropout: float = Field(0.1, ge=0, lt=1, description="before the new linear layer")
    gradient_clipping: PositiveFloat = Field(1.0, description="maximum global norm")
    tokens: PositiveInt = Field(16_384, description="tokens computed at a time; affects memory, not results")
    choose: Literal["last", "best"] = Field(
        "last", description="the weights after the last step, or of the epoch with the best development score"
    )
    patience: PositiveInt | None = Field(
        None, description="epochs without a better development score after which training stops"
    )
    development_share: float = Field(
        0.0, ge=0, lt=1, description="of the training documents, for development if the task has no such split"
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate of a layer as a share of that of the layer above it"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: each class has the same weight in the loss, however rare it is"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of the computation in training, auto: bf16 on a GPU; the weights are always fp32"
    )

    def rates(self) -> tuple[float, ...]:
        """The learning rates between which the development score chooses; usually one."""
        return tuple(dict.fromkeys(self.lr)) if isinstance(self.lr, tuple) else (self.lr,)

    def needs_development(self) -> bool:
        """Whether anything is chosen by a development score."""
        return self.choose == "best" or self.patience is not None or len(self.rates()) > 1

    def identity(self) -> dict[str, Any]:
        """What results depend on. Keys of later versions are in it if they have been set, so older results count."""
        values = self.model_dump(exclude={"tokens"})
        return {key: value for key, value in values.items()
                if key in _FIRST_KEYS or value != type(self).model_fields[key].default}  # fmt: skip
