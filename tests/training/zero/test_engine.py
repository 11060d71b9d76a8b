"""Settings and nodes that the engine refuses."""

from pathlib import Path

import pytest
import torch

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.training.recipe.config import EngineConfig
from clinical_modernbert.training.zero.engine import require_supported, require_visible_gpus


def test_settings_that_these_ranks_do_not_support_are_refused(process_group: None) -> None:
    cpu = torch.device("cpu")
    with pytest.raises(UserError, match="zero_quantized_weights: DeepSpeed quantizes with CUDA kernels"):
        require_supported(EngineConfig(zero_optimization={"zero_quantized_weights": True}), cpu)
    with pytest.raises(UserError, match="zero_hpz_partition_size=2 does not divide the 1 ranks"):
        require_supported(EngineConfig(zero_hpz_partition_size=2), cpu)


def test_a_node_that_lost_its_gpus_does_not_train_on_its_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(torch.version, "cuda", None)
    require_visible_gpus({}, tmp_path)  # torch is built for CPUs, so training on CPUs is intended
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(UserError, match=r'has GPUs and torch sees none: .*set CUDA_VISIBLE_DEVICES=""'):
        require_visible_gpus({}, tmp_path)
    require_visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path)
    require_visible_gpus({}, tmp_path / "nothing")
