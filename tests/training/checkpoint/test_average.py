"""The average of checkpoints is that of their weights, whatever wrote them, and is exported like any checkpoint."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_run import SmallRun

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.hugging_face import from_pretrained
from clinical_modernbert.training.checkpoint import average
from clinical_modernbert.training.checkpoint.average import newest_complete, parse_weights, write_average
from clinical_modernbert.training.checkpoint.files import find_corruption
from clinical_modernbert.training.checkpoint.manifest import read_manifest
from clinical_modernbert.training.checkpoint.save_load import consolidate
from clinical_modernbert.training.checkpoint.shard_reader import ShardReader
from clinical_modernbert.training.export.export import export_checkpoint
from clinical_modernbert.training.zero.parameter_shards import ParameterShard

pytestmark = [pytest.mark.slow, pytest.mark.ranks]


def directly(checkpoints: list[Path], weights: list[float]) -> dict[str, torch.Tensor]:
    parts = [consolidate(path) for path in checkpoints]
    return {
        name: torch.stack([part[name].double() * weight for part, weight in zip(parts, weights, strict=True)]).sum(0)
        for name in parts[0]
    }


def test_the_average_equals_a_direct_computation_and_is_read_in_pieces(
    copy: SmallRun, finished: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest checkpoint is written by one rank, the others by two."""
    shutil.rmtree(copy.newest_checkpoint())
    copy.train(ranks=1)
    read, largest = ShardReader.read, 0

    def counted(reader: ShardReader, shard: ParameterShard, key: str) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, shard.numel)
        return read(reader, shard, key)

    monkeypatch.setattr(average, "_PIECE", 1000)
    for number, text in enumerate((None, "1,2,5")):
        monkeypatch.setattr(ShardReader, "read", counted)
        checkpoints, weights = newest_complete(copy.run_dir, 3), parse_weights(text, 3)
        path = write_average(checkpoints, weights, tmp_path / str(number))
        monkeypatch.undo()
        monkeypatch.setattr(average, "_PIECE", 1000)
        assert [each.name for each in checkpoints] == ["step00000004", "step00000008", "step00000012"]
        assert find_corruption(path) is None
        result, expected = consolidate(path), directly(checkpoints, weights)
        assert result.keys() == expected.keys()
        assert all(torch.equal(result[name], value.float()) for name, value in expected.items())
        other = directly(newest_complete(finished.run_dir, 3), weights)
        for name, value in other.items():
            torch.testing.assert_close(result[name], value.float(), rtol=1e-5, atol=1e-6)
    assert 0 < largest <= 1000
    assert read_manifest(path).averaged == {"step00000004": 0.125, "step00000008": 0.25, "step00000012": 0.625}


def test_only_complete_checkpoints_count(copy: SmallRun, messages: pytest.LogCaptureFixture) -> None:
    file = next(copy.newest_checkpoint().glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    assert [path.name for path in newest_complete(copy.run_dir, 2)] == ["step00000004", "step00000008"]
    assert "skipping a corrupt checkpoint" in messages.text
    with pytest.raises(UserError, match=r"2 complete checkpoints, and --last 3 needs 3: lower it"):
        newest_complete(copy.run_dir, 3)


def test_weights_are_one_positive_number_per_checkpoint() -> None:
    assert parse_weights(None, 4) == [0.25] * 4
    assert parse_weights("1,3", 2) == [0.25, 0.75]
    for text in ("1", "1,2,3", "1,-1", "1,nan", "1,inf", "1,x", "", "0,1"):
        with pytest.raises(UserError, match="expected"):
            parse_weights(text, 2)


def test_an_average_is_exported_and_begins_a_run_but_continues_none(
    finished: SmallRun, new_run: Callable[[], SmallRun], tmp_path: Path
) -> None:
    path = write_average(newest_complete(finished.run_dir, 2), parse_weights(None, 2), tmp_path / "average")
    export_checkpoint(tmp_path / "average", tmp_path / "model")
    card = (tmp_path / "model/README.md").read_text()
    assert "average of the checkpoints step00000008, step00000012" in card
    weights = consolidate(path)
    exported = dict(from_pretrained(tmp_path / "model").named_parameters())
    assert all(torch.equal(exported[name], value) for name, value in weights.items())
    output = new_run().train(f"run_dir={tmp_path / 'average'}", code=2)
    assert "step00000012: the average of 2 checkpoints, without an optimizer's state" in output
    assert "initial_weights" in output
    assert not (tmp_path / "average/attempts").exists()
    started = new_run()
    settings = ("model=null", f"initial_weights={tmp_path / 'model'}", "schedule.total_tokens=1024")
    started.train(*settings, "schedule={total_tokens: 1024}")
    assert started.rows()[0]["loss"] < finished.rows()[0]["loss"] - 0.05
