"""A kept model: transformers computes its predictions, and it is opened again as it was."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation import results
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.saved_model import open_fine_tuned
from clinical_modernbert.evaluation.suite import Evaluation, kind_of

FILES = {"ner": "fever\tB-D\nof\tO\nthe\tO\nlung\tB-D\npain\tI-D\n\nno\tO\npain\tO\n\n" * 12,
         "classification": "text\tlabel\n" + "fever of the lung\tyes\nno pain\tno\n" * 16,
         "labels": "text\tlabels\n" + "fever of the lung\tyes;lung\nno pain\tno\n" * 16,
         "regression": "text\tlabel\n" + "fever of the lung\t-300\nno pain\t900.5\n" * 16}  # fmt: skip
MORE = {"labels": {"separator": ";", "development": "a.tsv"}}
CLASSES = {
    "ner": transformers.AutoModelForTokenClassification,
    "classification": transformers.AutoModelForSequenceClassification,
    "labels": transformers.AutoModelForSequenceClassification,
    "regression": transformers.AutoModelForSequenceClassification,
}


@pytest.fixture(params=[*FILES])
def evaluation(tmp_path: Path, quick: Protocol, request: pytest.FixtureRequest) -> Evaluation:
    (tmp_path / "a.tsv").write_text(FILES[request.param])
    task = {"kind": request.param, "train": "a.tsv", "test": "a.tsv", **MORE.get(request.param, {})}
    return Evaluation.model_validate({"name": "toy", "data": tmp_path, "task": task, "protocol": quick})


@pytest.mark.parametrize("which", ["ours", "bert"])
def test_transformers_computes_the_same(
    which: str, evaluation: Evaluation, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model: EvaluatedModel = request.getfixturevalue(which)
    out = tmp_path / "out"
    [result] = results.evaluate([model], [evaluation], 1, out, keep=True)
    directory = results.saved_directory(out, "toy", 0)
    theirs = CLASSES[evaluation.task.kind].from_pretrained(directory).eval()
    reference = json.loads((directory / "reference.json").read_text())
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    opened = open_fine_tuned(directory)
    for given, expected in zip(reference["inputs"], reference["outputs"], strict=True):
        ids = tokenizer(given["text"], truncation=True, max_length=model.max_length)["input_ids"]
        assert ids == given["input_ids"]
        with torch.no_grad():
            logits = theirs(input_ids=torch.tensor([ids])).logits[0]
            again = opened.classifier([torch.tensor(ids)])
        assert_close(logits, expected)
        assert_close(again.squeeze(0) if again.dim() > logits.dim() else again, expected)
    assert theirs.config.id2label == dict(enumerate(opened.labels))
    records = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    assert json.loads(
        json.dumps(opened.predict(kind_of(evaluation.task).read(evaluation.task, tmp_path).test, 512))
    ) == (records)
    assert kind_of(evaluation.task).score(evaluation.task, records) == result.scores
    assert "fever" not in (directory / "README.md").read_text()


def assert_close(logits: Tensor, expected: Sequence[Any]) -> None:
    assert (logits - torch.tensor(expected)).abs().max() < 1e-4 * max(1.0, torch.tensor(expected).abs().max().item())


def test_a_kept_model_is_not_replaced_by_another(ours: EvaluatedModel, evaluation: Evaluation, tmp_path: Path) -> None:
    out = tmp_path / "out"
    list(results.evaluate([ours], [evaluation], 1, out, keep=True))
    first = (out / "toy-0/model.safetensors").read_bytes()
    list(results.evaluate([ours], [evaluation], 1, out, keep=True))
    other = evaluation.model_copy(update={"protocol": evaluation.protocol.model_copy(update={"lr": 1e-4})})
    with pytest.raises(UserError, match="toy-0: holds a model of other weights, data or settings; remove it"):
        list(results.evaluate([ours], [other], 1, out, keep=True))
    assert (out / "toy-0/model.safetensors").read_bytes() == first
    with pytest.raises(UserError, match=r"no fine_tuning\.json; expected a directory that `cmbert finetune` wrote"):
        open_fine_tuned(tmp_path)
