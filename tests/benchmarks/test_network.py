"""The plan of a step and of a run, against both played event by event with no formula in common."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clinical_modernbert.training.planning.collectives import ring, tree
from clinical_modernbert.training.planning.devices import find_gpu
from clinical_modernbert.training.planning.fabric import LAUNCH, LINK_LATENCY, Site, find_fabric, network_of
from clinical_modernbert.training.planning.goodput import HANGS, NOTICED, goodput

TOLERANCE = 0.05
LARGE_TREES = 0.2
"""The library seldom takes a tree for tensors in which this much is visible."""


@pytest.fixture(scope="module")
def played(repository: Path) -> dict[str, Any]:
    return runpy.run_path(str(repository / "benchmarks/network.py"))


@pytest.mark.parametrize("fabric", ["infiniband-400x8", "efa", "100gbe"])
def test_a_collective_takes_as_long_as_its_pieces(played: dict[str, Any], fabric: str) -> None:
    """From a few bytes to a gradient of `base`, on one node to 32."""
    gpu = find_gpu("h100")
    assert gpu is not None
    for nodes in (1, 2, 8, 32):
        network = network_of(gpu, find_fabric(fabric), nodes, 8)
        links = played["Links"](8, network.link, LINK_LATENCY, network.fabric.node, network.fabric.latency, LAUNCH)
        ranks, together = played["Ranks"](8 * nodes, links), np.zeros(8 * nodes)
        for size in (232.0, 4e5, 6e7, 6e8):
            for turns in (1, 2):
                seconds = ranks.pass_on(together, size, turns).max()
                assert ring(size, turns, network).total == pytest.approx(seconds, rel=0.06), (nodes, size, turns)
            if nodes > 1:
                seconds = ranks.by_trees(together, size).max()
                bound = TOLERANCE if size < 1e6 else LARGE_TREES
                assert tree(size, 2, network).total == pytest.approx(seconds, rel=bound), (nodes, size)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 3, 4])
def test_a_step_is_as_planned(played: dict[str, Any], stage: int) -> None:
    for fabric, gpus in (("infiniband-400x8", 8), ("infiniband-400x8", 64), ("efa", 64), ("100gbe", 64)):
        planned, seconds = played["compare"]("base", gpus, fabric, stage, seeds=1)
        step = planned["phases"][0]["step"]
        assert sum(step.values()) == pytest.approx(seconds, rel=TOLERANCE), (fabric, gpus)


def test_a_run_keeps_the_planned_share_of_its_time(played: dict[str, Any]) -> None:
    """With failures every few hours, at a setting and at the best interval, which is better than its neighbors."""
    site = Site(find_fabric("efa"), mtbf=1000 * 3600)
    for step, every in ((0.3, 500), (2.0, 2000)):
        kept = goodput(step, every, 1.8e9, 1024, 128, 1200, site)
        noticed = [(1 - HANGS, NOTICED), (HANGS, 1200.0)]
        arguments = (kept.interval, kept.stall, kept.write, kept.start, kept.between_failures, noticed)
        seen = np.mean([played["play_run"](*arguments, days=400, seed=seed) for seed in range(4)])
        assert 0.9 < kept.share < 0.99
        assert kept.share == pytest.approx(seen, abs=0.004)
        best, *others = (
            goodput(step, max(1, round(factor * kept.best_interval / step)), 1.8e9, 1024, 128, 1200, site).share
            for factor in (1, 0.25, 4)
        )
        assert best >= max(others)
