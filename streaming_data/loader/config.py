"""Which prepared data a run reads, and in what mix."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from .mask_groups import Strategy

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DataConfig(BaseModel):
    """The `data` section of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="data set written by `cmbert data prepare`: a directory or an object-store URL")
    seq_length: PositiveInt = Field(8192, description="tokens of a pack; must equal what the data was prepared with")
    weights: dict[str, Positive] | None = Field(
        None,
        min_length=1,
        description="share of the tokens of each source, in any unit; null: every pack once an epoch",
    )
    max_epochs: Positive | dict[str, Positive] | None = Field(
        None,
        description="how often a source may pass at most, all of them or each by its name; then the others share its "
        "part; null: without end",
    )
    shuffle_window: PositiveInt = Field(16, description="shards of a source that are shuffled together")
    masking: Strategy = Field("token", description="what is masked as a whole: token, whole_word, span or code_aware")
    cache: Path | None = Field(None, description="where shards of an object store are kept on this machine")
    cache_gigabytes: Positive | None = Field(
        None, description="the shards used longest ago make room for others; null: all that is read is kept"
    )
