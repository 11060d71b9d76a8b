"""Configuration of `cmbert data prepare`: the sources, the tokenizer and the shape of the data set."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..canaries.config import PrivacyConfig
from ..corpora.readers import AnySource


class NearDuplicates(BaseModel):
    """Removal of documents that are nearly the same as an earlier one.

    Attributes:
        similarity: the Jaccard similarity of five-word shingles above which two documents likely count as near
            duplicates.
        sources: the names of the sources that are compared with each other. Leave out code tables: their texts differ
            in a single word that matters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    similarity: float = Field(default=0.8, ge=0.3, le=0.95)
    sources: list[str] = Field(min_length=1)


class PrepareConfig(BaseModel):
    """A data set.

    Attributes:
        output: its directory, which must not exist yet: a data set is never overwritten.
        tokenizer: a directory with tokenizer.json and tokenizer_config.json.
        sources: in order; of documents with the same text the first is kept.
        seq_length: the size of a pack in tokens, and the longest segment.
        held_out: the share of patients, articles and so on that training never sees.
        seed: of the held-out split.
        near_duplicates: null drops only documents with exactly the same text.
        window: packs are filled from this many segments at a time.
        workers: processes that tokenize; null uses all the cores of this machine.
        privacy: what is planted to measure memorization; null plants nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: Path
    tokenizer: Path
    sources: list[AnySource] = Field(min_length=1)
    seq_length: int = Field(default=8192, ge=8)
    held_out: float = Field(default=0.005, ge=0, lt=1)
    seed: int = 0
    near_duplicates: NearDuplicates | None = None
    window: int = Field(default=4096, ge=1)
    workers: int | None = Field(default=None, ge=1)
    privacy: PrivacyConfig | None = Field(default=None, exclude_if=lambda privacy: privacy is None)

    @model_validator(mode="after")
    def _check_source_names(self) -> "PrepareConfig":
        names = [source.name for source in self.sources]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources are named {', '.join(repeated)}; each needs its own name")
        compared = self.near_duplicates.sources if self.near_duplicates else []
        planted = self.privacy.canaries.sources if self.privacy else []
        for key, named in (("near_duplicates", compared), ("privacy.canaries", planted)):
            if unknown := [name for name in named if name not in names]:
                raise ValueError(f"{key} names {', '.join(unknown)}; the sources are {', '.join(names)}")
        return self
