"""What `cmbert data prepare` is told: the sources, the tokenizer and the shape of the data set."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..corpora.readers import AnySource


class NearDuplicates(BaseModel):
    """Leaving out documents that are nearly the same as one before them.

    Attributes:
        similarity: the share of five-word runs in common (Jaccard) above which two documents likely count as near.
        sources: the names of the sources that are compared with each other. Codes, whose texts differ in a word that
            matters, should not be among them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    similarity: float = Field(default=0.8, ge=0.3, le=0.95)
    sources: list[str] = Field(min_length=1)


class PrepareConfig(BaseModel):
    """A data set.

    Attributes:
        output: its directory, which must not exist yet: a data set's address is never overwritten.
        tokenizer: a directory with tokenizer.json and tokenizer_config.json.
        sources: in order; of documents with the same text the first is kept.
        seq_length: the size of a pack in tokens, and the longest piece.
        held_out: the share of patients, articles and so on that training never sees.
        seed: of the held-out split.
        near_duplicates: left out, only documents with the same text are dropped.
        window: packs are filled from this many pieces at a time.
        workers: processes that tokenise; all the cores of this machine if left out.
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

    @model_validator(mode="after")
    def _names_fit(self) -> "PrepareConfig":
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources are named {', '.join(twice)}; each needs its own name")
        compared = self.near_duplicates.sources if self.near_duplicates else []
        if unknown := [name for name in compared if name not in names]:
            raise ValueError(f"near_duplicates names {', '.join(unknown)}; the sources are {', '.join(names)}")
        return self
