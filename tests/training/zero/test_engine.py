"""Settings and nodes that the engine refuses."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.training.recipe.engine_config import EngineConfig
from clinical_modernbert.training.zero.engine import (
    deepspeed_config,
    require_rendezvous,
    require_supported,
    require_visible_gpus,
)


def test_settings_that_these_ranks_do_not_support_are_refused(process_group: None) -> None:
    cpu = torch.device("cpu")
    with pytest.raises(UserError, match="zero_quantized_weights: DeepSpeed quantizes with CUDA kernels"):
        require_supported(EngineConfig(zero_optimization={"zero_quantized_weights": True}), cpu)
    with pytest.raises(UserError, match="zero_hpz_partition_size=2 does not divide the 1 ranks"):
        require_supported(EngineConfig(zero_hpz_partition_size=2), cpu)


def test_linear_layers_keep_no_weights_alive_that_would_be_released() -> None:
    strict = {"stage3_max_live_parameters": 1, "stage3_param_persistence_threshold": 0}
    for settings, slow in (({}, False), ({"stage3_param_persistence_threshold": 0}, False), (strict, True)):
        config = EngineConfig(zero_stage=3, zero_optimization=settings)
        zero = deepspeed_config(config, 1, [1000, 20])["zero_optimization"]
        assert zero.get("memory_efficient_linear", True) == slow
        assert ("leaf_module" in zero) == bool(settings)


def test_a_node_that_lost_its_gpus_does_not_train_on_its_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(torch.version, "cuda", None)
    require_visible_gpus({}, tmp_path)  # torch is built for CPUs, so training on CPUs is intended
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(UserError, match=r'has GPUs and torch sees none: .*set CUDA_VISIBLE_DEVICES=""'):
        require_visible_gpus({}, tmp_path)
    require_visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path)
    require_visible_gpus({}, tmp_path / "nothing")


RENDEZVOUS = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
JOIN = """
from clinical_modernbert.configs.errors import TransientError, UserError
from clinical_modernbert.training.zero.engine import join_ranks
try:
    join_ranks(0.1)
except UserError as error:
    print(f"{type(error).__name__}: {error}")
"""


def join(environment: dict[str, str]) -> str:
    """What a process says that joins the ranks of `environment`."""
    kept = {name: value for name, value in os.environ.items() if name not in RENDEZVOUS}
    done = subprocess.run(
        [sys.executable, "-c", JOIN], env=kept | environment, capture_output=True, text=True, timeout=200
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("missing", RENDEZVOUS)
def test_an_incomplete_rendezvous_is_one_error(missing: str) -> None:
    require_rendezvous(RENDEZVOUS)
    with pytest.raises(UserError, match=f"has not set {missing}: .*mpirun"):
        require_rendezvous({name: value for name, value in RENDEZVOUS.items() if name != missing})
    if missing != "MASTER_ADDR":
        with pytest.raises(UserError, match=f"{missing} is 'two', expected a number"):
            require_rendezvous(RENDEZVOUS | {missing: "two"})


@pytest.mark.slow
def test_a_rank_of_mpirun_without_a_rendezvous_is_one_error() -> None:
    said = join({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"})
    assert said.startswith("UserError: the launcher has not set RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT"), said


@pytest.mark.slow
def test_a_port_in_use_is_one_error_that_another_start_may_not_meet() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = join(RENDEZVOUS | {"WORLD_SIZE": "1", "MASTER_PORT": port})
    assert said.startswith(f"TransientError: port {port} of 127.0.0.1 is in use by another process"), said
