"""What the sections of a run's configuration have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the configuration: unknown keys are errors, and it does not change."""

    # An infinite or undefined number would be met as an overflow somewhere in the run.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def require_increasing(what: str, values: list[int]) -> None:
    """Require of numbers that each is greater than the one before; `what` names them in the error."""
    if values != sorted(set(values)):
        raise ValueError(f"{what} must increase, got {values}")


def require_ends(key: str, ends: list[int | None]) -> None:
    """Require of stages that each but the last ends, and later than the one before."""
    if ends and (ends[-1] is not None or None in ends[:-1]):
        raise ValueError(f"every stage of {key} but the last needs until_tokens, and the last must have none")
    require_increasing(f"until_tokens of the {key} stages", [end for end in ends if end is not None])
