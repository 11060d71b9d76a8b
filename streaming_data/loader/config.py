"""The `data` section of a run: which prepared data it reads, and in which mix."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from .mask_groups import Strategy

Objective = Literal["masked", "causal"]
"""What a step predicts: its masked tokens, or the next token of each."""
MOST_LANES = 1 << 16
SHUFFLE_WINDOW = 16
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DataConfig(BaseModel):
    """The data set, the mix of its sources and the shard cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="data set written by `cmbert data prepare`: a directory or an object-store URL")
    seq_length: PositiveInt = Field(8192, description="tokens per pack; must equal that of the prepared data")
    weights: dict[str, Positive] | None = Field(
        None,
        min_length=1,
        description="share of the tokens of each source, in any unit; null: every pack once per epoch",
    )
    max_epochs: Positive | dict[str, Positive] | None = Field(
        None,
        description="maximum epochs per source, one number for all or by name; after that its share goes to the other "
        "sources; null: no limit",
    )
    lanes: Annotated[int, Field(gt=0, le=MOST_LANES)] | None = Field(
        None,
        description="lanes of the order, each of which reads one shard at a time: a divisor of batch.global_batch_size "
        "and at least 4 per node; null: as many as batch and cache allow, or those with which the run began",
    )
    shuffle_window: PositiveInt | None = Field(
        None,
        description="shuffle the packs of so many shards together instead of in lanes, so that every node reads the "
        "complete data set; null: lanes, or the window with which the run began",
    )
    masking: Strategy = Field("token", description="unit of masking: token, whole_word, span or code_aware")
    cache: Path | None = Field(None, description="directory for downloaded shards of an object store")
    cache_gigabytes: Positive | None = Field(
        None, description="size limit; the least recently used shards are removed; null: no limit"
    )

    @model_validator(mode="after")
    def _one_order(self) -> "DataConfig":
        if self.lanes and self.shuffle_window:
            raise ValueError("lanes and shuffle_window are two orders of the data; remove one of them")
        return self

    @property
    def order_is_open(self) -> bool:
        """Whether the order is chosen by the first start of a run, and kept by later ones."""
        return self.lanes is None and self.shuffle_window is None
