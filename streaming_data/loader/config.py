"""The `data` section of a run: which prepared data it reads, and in which mix."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from .mask_groups import Strategy

Objective = Literal["masked", "causal"]
"""What a step predicts: its masked tokens, or the next token of each."""
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
    shuffle_window: PositiveInt = Field(16, description="number of shards of a source that are shuffled together")
    masking: Strategy = Field("token", description="unit of masking: token, whole_word, span or code_aware")
    cache: Path | None = Field(None, description="directory for downloaded shards of an object store")
    cache_gigabytes: Positive | None = Field(
        None, description="size limit; the least recently used shards are removed; null: no limit"
    )
