"""Which prepared data a run reads, and in what mix."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class DataConfig(BaseModel):
    """The `data` section of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="data set written by `cmbert data prepare`: a directory or an object-store URL")
    seq_length: PositiveInt = Field(8192, description="tokens of a pack; must equal what the data was prepared with")
    weights: dict[str, PositiveFloat] | None = Field(
        None, description="share of tokens of each source, in any unit; null: every pack once an epoch"
    )
    shuffle_window: PositiveInt = Field(16, description="shards of a source that are shuffled together")
    cache: Path | None = Field(None, description="where shards of an object store are kept on this machine")
