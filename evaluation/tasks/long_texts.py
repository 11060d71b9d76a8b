"""The keys of a task that say what becomes of texts longer than the model."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt


class LongTexts(BaseModel):
    """Long texts are divided into windows that overlap, or cut."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_length: PositiveInt | None = Field(None, description="of a window, in tokens; none: the model's maximum length")
    long: Literal["windows", "cut"] = Field("windows", description="whether longer texts are divided or cut")
    overlap: NonNegativeInt = Field(64, description="tokens that a window shares with the one before")

    def shared_tokens(self) -> int | None:
        """The overlap; None if longer texts are cut."""
        return self.overlap if self.long == "windows" else None
