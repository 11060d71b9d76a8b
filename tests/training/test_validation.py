"""Validation gives the same loss at any world size. It, the memory check and the profiler leave training bit-equal."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_data import SEQ_LENGTH, write_small_data
from small_run import SmallRun
from torch import Tensor

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.streaming_data.loader.order import PackAddress
from clinical_modernbert.training.copies import on_device
from clinical_modernbert.training.metrics.csv_log import read_rows
from clinical_modernbert.training.metrics.writer import ValidationMetrics
from clinical_modernbert.training.validation import _masked_words, _word_sums, evaluate


class EvenPositionsEngine:
    """A fake engine that predicts the tokens at even positions correctly, and records which were masked."""

    device = torch.device("cpu")

    def __call__(
        self, input_ids: Tensor, batch: PackedBatch, positions: Tensor, targets: Tensor, causal: bool
    ) -> tuple[Tensor, Tensor]:
        self.positions = positions
        return torch.zeros(()), positions % 2 == 0


def test_a_word_counts_if_all_of_it_is_masked_and_predicted(tmp_path: Path) -> None:
    config = DataConfig(path=str(write_small_data(tmp_path / "data")), seq_length=SEQ_LENGTH)
    dataset, engine = open_dataset(config, 1, "held_out"), EvenPositionsEngine()
    address = PackAddress(0, 0, 1)
    (batch,) = on_device([_masked_words(dataset, address, engine.device)], engine.device)
    correct, words = _word_sums(engine, batch).tolist()
    pack, masked = dataset.read(address), set(engine.positions.tolist())
    starts = [position for position in range(len(pack.tokens)) if pack.word_starts[position]]
    inside: list[list[int]] = []
    for position, token in enumerate(pack.tokens):
        if position in starts:
            inside.append([])
        if dataset.vocabulary.is_real[token]:
            inside[-1].append(position)
    whole = [positions for positions in inside if positions and masked.issuperset(positions)]
    assert words == len(whole) > 5
    assert correct == sum(all(position % 2 == 0 for position in positions) for positions in whole)
    assert 0 < correct < words


def test_a_source_without_a_masked_token_is_left_out(monkeypatch: pytest.MonkeyPatch, process_group: None) -> None:
    sums = iter([torch.tensor([6.0, 1.0, 2.0, 0.0, 0.0]), torch.zeros(5)])
    readers = SimpleNamespace(readers=[[0], [0]], sources=["one", "none"])
    engine = SimpleNamespace(device="cpu", eval=lambda: None, train=lambda: None)
    monkeypatch.setattr("clinical_modernbert.training.validation._token_sums", lambda *_: next(sums).double())
    monkeypatch.setattr("clinical_modernbert.training.validation._word_sums", lambda *_: torch.zeros(0))
    monkeypatch.setattr("clinical_modernbert.training.validation.on_device", lambda *_: iter([None] * 4))
    (row,) = evaluate(engine, readers, packs=1, step=3, held_out=[])  # type: ignore[arg-type]
    assert (row.source, row.loss, row.accuracy, row.word_accuracy) == ("one", 3.0, 0.5, None)


def validation_rows(run: SmallRun) -> list[dict]:
    return read_rows(run.run_dir / "validation.csv", ValidationMetrics)


def test_validation_memory_check_and_profiler_do_not_change_training(
    finished: SmallRun, new_run: Callable[[], SmallRun]
) -> None:
    one, two = new_run(), new_run()
    one.train("validation.every_steps=6", "batch.micro_batch_size=4")
    two.train(
        "validation.every_steps=6", "memory_check=true", "profile={first_step: 2, steps: 2, memory: true}", ranks=2
    )
    for name in ("loss", "accuracy", "grad_norm", "data_digest"):
        assert two.column(name) == finished.column(name)
    with gzip.open(two.run_dir / "profile/step00000002.trace.json.gz", "rt") as file:
        assert any("backward" in event.get("name", "").lower() for event in json.load(file)["traceEvents"])
    rows = validation_rows(two)
    assert [(row["step"], row["source"]) for row in rows] == [(6, "notes"), (6, "codes"), (12, "notes"), (12, "codes")]
    for mine, other in zip(rows, validation_rows(one), strict=True):
        assert mine["masked"] == other["masked"] > 0
        assert mine["word_accuracy"] == other["word_accuracy"]
        assert mine["words"] == other["words"] > 0
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert rows[2]["loss"] < rows[0]["loss"]
