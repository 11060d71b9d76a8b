"""`reference.json`: texts, their token ids, and what the model computes from them, which any runtime must reproduce.

    {"inputs": [{"text": "...", "input_ids": [50281, ...]}, ...], "outputs": {"mean_embedding": [[0.12, ...], ...]}}

Texts are synthetic or public. Some are longer than the local window, so that a runtime that ignores it, or takes one
RoPE base for all layers, differs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..configs.errors import UserError
from ..configs.json_text import first_problem

REFERENCE = "reference.json"
OutputName = Literal["mean_embedding", "token_logits", "logits"]


class ReferenceInput(BaseModel):
    """A text and its token ids, special tokens included."""

    model_config = ConfigDict(frozen=True)

    text: str
    input_ids: list[int] = Field(min_length=1)


class Reference(BaseModel):
    """The content of reference.json.

    Attributes:
        inputs: texts and their token ids.
        outputs: by name, one for each input. `mean_embedding`: the mean of the last hidden states (hidden_size,).
            `token_logits`: of the masked-language-model head at the position n // 2 of n, those of the ids in `tokens`.
            `logits`: of another head, (classes,) or (n, classes). A list instead of a mapping is `logits`.
        tokens: the ids of `token_logits`.
    """

    model_config = ConfigDict(frozen=True)

    inputs: list[ReferenceInput] = Field(min_length=1)
    outputs: dict[OutputName, list[Any]] = Field(min_length=1)
    tokens: list[int] = []

    @model_validator(mode="before")
    @classmethod
    def _name_outputs(cls, content: Any) -> Any:
        if isinstance(content, dict) and isinstance(content.get("outputs"), list):
            return {**content, "outputs": {"logits": content["outputs"]}}
        return content

    @model_validator(mode="after")
    def _check_counts(self) -> "Reference":
        for name, outputs in self.outputs.items():
            if len(outputs) != len(self.inputs):
                raise ValueError(f"{name} has {len(outputs)} outputs for {len(self.inputs)} inputs")
        return self

    def differences(self, name: OutputName, actual: Sequence[npt.ArrayLike], directions: bool = False) -> list[float]:
        """For each input the largest difference, as a share of the largest expected value; infinite for another shape.

        Args:
            actual: what a runtime computed, one output for each input.
            directions: compare vectors of length 1.
        """
        pairs = zip(self.outputs[name], actual, strict=True)
        return [_difference(*(_vector(one, directions) for one in pair)) for pair in pairs]


def _vector(values: npt.ArrayLike, direction: bool) -> npt.NDArray[np.float64]:
    vector = np.asarray(values, np.float64)
    return vector / max(float(np.linalg.norm(vector)), np.finfo(np.float64).tiny) if direction else vector


def _difference(expected: npt.NDArray[np.float64], actual: npt.NDArray[np.float64]) -> float:
    if expected.shape != actual.shape:
        return float("inf")
    difference = np.abs(actual - expected).max() / max(np.abs(expected).max(), np.finfo(np.float64).tiny)
    return float(difference) if np.isfinite(difference) else float("inf")


def read_reference(directory: Path) -> Reference:
    """The reference of a model's directory.

    Raises:
        UserError: there is none, or it has another format.
    """
    path = directory / REFERENCE
    if not path.is_file():
        raise UserError(f"{path}: no such file; `cmbert export` and `cmbert finetune` write it")
    try:
        return Reference.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}; export the model again") from None
