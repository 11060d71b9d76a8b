"""The section of a data recipe that plants canaries."""

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator


class CanariesConfig(BaseModel):
    """Random synthetic identifiers in training documents, whose memorization `cmbert privacy` measures.

    Attributes:
        sources: the names of the sources in whose training documents they are planted.
        count: canaries per level.
        repeats: the levels: in how many training patients' documents each canary is planted. 0, the control, is always
            one of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: list[str] = Field(min_length=1)
    count: PositiveInt = Field(default=50, le=1000)
    repeats: list[NonNegativeInt] = Field(default=[0, 1, 2, 4, 8, 16], min_length=1, max_length=16)

    @field_validator("repeats")
    @classmethod
    def _add_control(cls, repeats: list[int]) -> list[int]:
        levels = sorted({0, *repeats})
        if levels[-1] == 0:
            raise ValueError("at least one level must be above 0, such as [0, 1, 2, 4, 8, 16]")
        return levels


class PrivacyConfig(BaseModel):
    """What a data set contains for the measurement of privacy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    canaries: CanariesConfig
