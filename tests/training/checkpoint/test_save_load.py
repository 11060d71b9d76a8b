"""The content of a checkpoint does not depend on the ranks that wrote it."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from small_run import SmallRun

from clinical_modernbert.training.checkpoint.save_load import consolidate


def test_one_and_two_ranks_save_the_same_weights_and_state(new_run: Callable[[], SmallRun]) -> None:
    """After one step, with tensors assembled from the shards of either run."""
    states = []
    for ranks in (1, 2):
        run = new_run()
        run.train("schedule.total_tokens=4096", "schedule.decay_tokens=0", ranks=ranks)
        states.append(full_tensors(run.newest_checkpoint()))
    assert states[0].keys() == states[1].keys()
    assert {key.rsplit("/")[-1] for key in states[0]} == {"fp32", "exp_avg", "exp_avg_sq"}
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-6, msg=key)


def full_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every saved tensor, assembled by an independent reader."""
    from safetensors import safe_open

    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, "pt") as saved:
            layout = json.loads(saved.metadata()["layout"])
            for key in saved.keys():  # noqa: SIM118
                start, numel, shape = layout[key.rsplit("/", 1)[0]]
                tensors.setdefault(key, torch.full((torch.Size(shape).numel(),), torch.nan))[start : start + numel] = (
                    saved.get_tensor(key)
                )
    return tensors


def test_consolidated_weights_equal_the_saved_ones(finished: SmallRun) -> None:
    path = finished.newest_checkpoint()
    saved = full_tensors(path)
    weights = consolidate(path)
    assert "decoder.weight" not in weights
    for name, value in weights.items():
        assert torch.equal(value.flatten(), saved[f"{name}/fp32"])
