"""The content of a checkpoint does not depend on the ranks that wrote it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from exchanging_ranks import save_on
from rewritten import full_tensors, rewrite
from small_run import SmallRun
from written_run import manifest_of

from clinical_modernbert.configs.errors import TransientError
from clinical_modernbert.model.checkpoint_weights import read_checkpoint
from clinical_modernbert.storage import files
from clinical_modernbert.training.checkpoint import save_load, snapshot
from clinical_modernbert.training.checkpoint.attempts import Attempt
from clinical_modernbert.training.checkpoint.files import find_corruption
from clinical_modernbert.training.checkpoint.layout import Layout
from clinical_modernbert.training.checkpoint.manifest import CheckpointManifest, Written, read_manifest
from clinical_modernbert.training.checkpoint.save_load import consolidate
from clinical_modernbert.training.checkpoint.snapshot import Snapshot, copy_to_host
from clinical_modernbert.training.nodes.node import join_node
from clinical_modernbert.training.zero.parameter_shards import ParameterShard


def test_one_and_two_ranks_save_the_same_weights_and_state(new_run: Callable[[], SmallRun]) -> None:
    """After one step, with tensors assembled from the shards of either run."""
    states = []
    for ranks in (1, 2):
        run = new_run()
        run.train("schedule.total_tokens=4096", "schedule.decay_tokens=0", ranks=ranks)
        states.append(full_tensors(run.newest_checkpoint())[0])
    assert states[0].keys() == states[1].keys()
    assert {key.rsplit("/")[-1] for key in states[0]} == {"fp32", "exp_avg", "exp_avg_sq"}
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-6, msg=key)


@pytest.mark.parametrize(("kind", "count"), [("node", 1), ("node", 3), ("rank", 3)])
def test_weights_are_read_whole_from_any_files(kind: str, count: int, copy: SmallRun) -> None:
    """By both readers, of files in parts as two ranks have written them, and of version 1."""
    path = copy.newest_checkpoint()
    saved, _ = full_tensors(path)
    assert [len(entry.xxh3_128) for entry in read_manifest(path).files.values()] == [2]
    if count > 1:
        rewrite(path, kind, count)
    weights, read = consolidate(path), read_checkpoint(path)
    assert "decoder.weight" not in weights
    assert weights.keys() == read.keys() == {name.removesuffix("/fp32") for name in saved if name.endswith("/fp32")}
    for name, value in weights.items():
        assert torch.equal(value.flatten(), saved[f"{name}/fp32"])
        assert torch.equal(value, read[name])


def test_training_does_not_change_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    flat, moment = torch.arange(6.0), torch.arange(6.0) * 2
    shard = ParameterShard("weight", (2, 2), start=0, numel=4, flat=flat, offset=1)
    monkeypatch.setattr(snapshot, "shards_to_save", lambda engine: [shard])
    monkeypatch.setattr(snapshot, "optimizer_state", lambda engine, shard: {"exp_avg": shard.view_in(moment)})
    first = copy_to_host(None)
    flat += 100
    moment += 100
    assert {name: value.tolist() for name, value in first.tensors.items()} == {
        "weight/fp32": [1, 2, 3, 4],
        "weight/exp_avg": [2, 4, 6, 8],
    }
    second = copy_to_host(None, first)
    assert second.tensors["weight/fp32"].tolist() == [101, 102, 103, 104]
    assert second.tensors["weight/fp32"].data_ptr() == first.tensors["weight/fp32"].data_ptr()


@pytest.mark.parametrize("lost", ["absent", "short"])
def test_nothing_is_published_that_is_not_on_the_disk(
    lost: str, process_group: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank reports that it has written its file, and it is not there."""

    def hash_file(file: Path, part: tuple[int, int]) -> str:
        hashed = files.hash_file(file, part=part)
        file.unlink()
        if lost == "short":
            file.write_bytes(b"short")
        return hashed

    def describe(written: Written) -> CheckpointManifest:
        return manifest_of(4).model_copy(update=written._asdict())

    state = Snapshot({"weight/fp32": torch.ones(4)}, {"weight": (0, 4, (4,))})
    directory, node = tmp_path / "checkpoints", join_node([0], timedelta(minutes=1))
    with monkeypatch.context() as patch:
        patch.setattr(save_load, "hash_file", hash_file)
        patch.setattr(save_load, "VISIBLE_WITHIN_SECONDS", 0.2)
        with pytest.raises(TransientError, match=r"node00000-of-00001\.safetensors (is absent|has 5 bytes) where"):
            save_load.save(state, directory, 4, Attempt(tmp_path, 1), describe, node)
    assert list(directory.iterdir()) == []
    save_load.save(state, directory, 4, Attempt(tmp_path, 1), describe, node)
    assert [path.name for path in directory.iterdir()] == ["step00000004"]
    assert torch.equal(consolidate(directory / "step00000004")["weight"], torch.ones(4))


@pytest.mark.parametrize(
    ("machines", "starts", "names"),
    [
        ("aabb", [0, 10, 20, 30], ["node00000-of-00002", "node00001-of-00002"]),
        ("abba", [0, 10, 20, 30], [f"node0000{number}-of-00003" for number in range(3)]),
        ("aabb", [0, 20, 10, 30], [f"rank0000{rank}-of-00004" for rank in range(4)]),  # ranges that do not adjoin
    ],
)
def test_the_ranks_of_a_node_write_one_file(machines: str, starts: list[int], names: list[str], tmp_path: Path) -> None:
    """Four real ranks hold ten elements each, and the norm is on one of them."""
    values, norm = torch.randn(40), torch.randn(3)
    held = []
    for start in starts:
        part, layout = values[start : start + 10].clone(), Layout({"weight": (start, 10, (4, 10))})
        held.append(Snapshot({"weight/fp32": part, "weight/exp_avg": 2 * part}, layout))
    held[2].tensors["norm/fp32"], held[2].layout["norm"] = norm, (0, 3, (3,))
    directory = tmp_path / "checkpoints"
    save_on(machines, held, directory)
    (path,) = directory.iterdir()
    manifest = read_manifest(path)
    assert sorted(manifest.files) == [f"{name}.safetensors" for name in names]
    assert find_corruption(path) is None
    hashes = [len(manifest.files[f"{name}.safetensors"].xxh3_128) for name in names]
    assert hashes == {2: [2, 2], 3: [1, 2, 1], 4: [1] * 4}[len(names)]
    tensors, _ = full_tensors(path)
    assert torch.equal(tensors["weight/fp32"], values)
    assert torch.equal(tensors["weight/exp_avg"], 2 * values)
    assert torch.equal(tensors["norm/fp32"], norm)
    assert torch.equal(consolidate(path)["weight"], values.view(4, 10))
