"""`reference.json` is read as exports and fine-tuning write it; outputs are compared by value and shape."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.reference import Reference, read_reference

INPUTS = [{"text": "a b", "input_ids": [1, 5, 6, 2]}, {"text": "c", "input_ids": [1, 7, 2]}]


def reference(outputs: Any) -> Reference:
    return Reference.model_validate({"inputs": INPUTS, "outputs": outputs})


def test_a_list_of_outputs_is_logits(tmp_path: Path) -> None:
    (tmp_path / "reference.json").write_text(json.dumps({"inputs": INPUTS, "outputs": [[0.5, -1.0], [2.0, 0.0]]}))
    read = read_reference(tmp_path)
    assert read == reference({"logits": [[0.5, -1.0], [2.0, 0.0]]})
    assert read.differences("logits", [np.array([0.5, -1.5]), np.array([2.0, 0.0])]) == [0.5, 0.0]


def test_another_shape_and_no_number_are_infinitely_different() -> None:
    tags = [np.ones((4, 3)), np.ones((3, 3))]
    read = reference({"logits": [one.tolist() for one in tags]})
    assert read.differences("logits", tags) == [0.0, 0.0]
    assert read.differences("logits", [tags[0][:3], tags[1] * np.nan]) == [np.inf, np.inf]


def test_directions_are_compared_without_their_length() -> None:
    read = reference({"mean_embedding": [[3.0, 4.0], [0.0, 2.0]]})
    assert read.differences("mean_embedding", [[0.6, 0.8], [0.0, 1.0]], directions=True) == pytest.approx([0, 0])
    assert max(read.differences("mean_embedding", [[0.8, 0.6], [0.0, 1.0]], directions=True)) > 0.1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"inputs": INPUTS, "outputs": [[1.0]]}, "logits has 1 outputs for 2 inputs"),
        ({"inputs": INPUTS, "outputs": {"hidden": [[1.0], [2.0]]}}, "outputs.hidden"),
        ({"inputs": [], "outputs": []}, "inputs"),
        ({"inputs": [{"text": "a"}], "outputs": [[1.0]]}, "inputs.0.input_ids"),
    ],
)
def test_another_format_is_an_error(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reference\.json: no such file; `cmbert export`"):
        read_reference(tmp_path)
    (tmp_path / "reference.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        read_reference(tmp_path)
    assert message in str(error.value)
