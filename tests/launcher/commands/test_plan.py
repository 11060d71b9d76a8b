"""`cmbert plan` through its command line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app


def plan(*arguments: str, columns: int = 140) -> str:
    result = CliRunner().invoke(app, ["plan", *arguments], env={"COLUMNS": str(columns)}, catch_exceptions=False)
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0
    return result.stdout


def test_the_output_has_memory_time_cost_and_advice() -> None:
    text = plan("base", "--gpu", "h100", "--price", "2.5")
    assert "149,655,232 parameters on 8 H100 with 80 GB" in text
    assert "21,193 steps of 4,718,592 tokens" in text
    assert "Not measured" in text
    assert "cost" in text
    assert "ZeRO-1, which needs 15.51 of 72.00 GB per rank" in text
    assert re.search(r"host memory of a node: \d+\.\d GB", text)


def test_json_output_for_programs(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("nodes: 2\nranks_per_node: 4\ngpu: a100\nprice_per_gpu_hour: 1.5\n")
    result = json.loads(plan("base", "--cluster", str(cluster), "--json"))
    assert (result["ranks"], result["gpu"]["name"], result["parameters"]) == (8, "A100", 149_655_232)
    assert result["cost"][0] == pytest.approx(result["days"][0] * 24 * 8 * 1.5)
    assert json.loads(plan("base", "--cluster", str(cluster), "--nodes", "1", "--json"))["ranks"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("option", [(), ("--roofline",)], ids=["forecast", "roofline"])
def test_torch_is_not_imported(option: tuple[str, ...]) -> None:
    call = f"app({['plan', 'base', '--gpu', 'h100', *option]}, standalone_mode=False)"
    program = f"import sys; from clinical_modernbert.launcher.cli import app; {call}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("columns", [80, 100])
def test_nothing_is_cut_on_a_narrow_terminal(columns: int) -> None:
    text = plan("large", "--gpu", "h100", "--nodes", "8", "--set", "batch.micro_batch_size=3", columns=columns)
    assert "…" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["base", "--gpu", "a100-64"], "did you mean a100-pcie-40gb or"),
        (["base", "--gpu", "h100", "--fabric", "infinband"], "infinband: unknown fabric; did you mean infiniband"),
        (["base"], "--gpu is required: set it, or `gpu` in the cluster's file"),
        (["base", "--gpu", "voodoo2"], "voodoo2: unknown GPU; set --gpu"),
        (["base", "--gpu", "h100", "--nodes", "80"], "is less than the number of ranks"),
    ],
)
def test_errors(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(*arguments)


def test_ranks_that_do_not_divide_the_batch_are_planned_with_their_waste() -> None:
    uneven = ("base", "--gpu", "h100", "--nodes", "5", "--set", "batch.micro_batch_size=1")
    words = " ".join(plan(*uneven).split())
    assert "40 ranks x 15 micro-batches of up to 1 packs; a rank has up to 15" in words
    assert "a step takes as long as one of 600 packs (4.2% waste)" in words
    slow, even = (
        json.loads(plan(*uneven, *batch, "--json"))["phases"][0]["days"][1]
        for batch in ((), ("--set", "batch.global_batch_size=600"))
    )
    assert slow == pytest.approx(600 / 576 * even, rel=1e-3)


def test_a_range_of_nodes_is_planned_and_refused_as_one(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("nodes: 4-6\nranks_per_node: 8\ngpu: h100\n")
    run = ("base", "--cluster", str(cluster), "--set", "batch.micro_batch_size=1")
    words = " ".join(plan(*run).split())
    assert "48 ranks x 12 micro-batches x 1 packs" in words
    assert "on 4 nodes: 32 ranks x 18 micro-batches x 1 packs" in words
    assert "on 5 nodes: 40 ranks x 15 micro-batches of up to 1 packs; a rank has up to 15" in words
    for setting, message in (
        ("batch.global_batch_size=40", r"global_batch_size \(40\) is less than the number of ranks \(48\)"),
        ("engine={zero_stage: 3, zero_hpz_partition_size: 16}", "=16 does not divide the 40 ranks"),
    ):
        for command in (["plan", *run], ["launch", "slurm", *run, "--dry-run"]):
            with pytest.raises(UserError, match=message):
                app([*command, "--set", setting], standalone_mode=False)


def test_the_network_binds_at_many_ranks_and_advice_names_what_helps() -> None:
    """At 1,024 GPUs with one micro-batch per step `auto` takes ZeRO-3, which sends fewer bytes in few messages."""
    many = ("--nodes", "128", "--set", "batch={global_batch_size: 2048, micro_batch_size: 2}")
    one = json.loads(plan("base", "--gpu", "h100", "--json"))
    for fabric, binds, best in (("infiniband-400x8", "device", 1), ("100gbe", "bandwidth", 3)):
        result = json.loads(plan("base", "--gpu", "h100", "--fabric", fabric, *many, "--json"))
        assert result["zero_stage"] == 3
        step = result["phases"][0]["step"]
        assert max(step, key=lambda part: step[part]) == binds
        advised = f"engine.zero_stage={best} " + ("is the fastest" if best == 3 else "saves")
        assert any(advised in sentence for sentence in result["advice"])
        other = json.loads(
            plan("base", "--gpu", "h100", "--fabric", fabric, *many, "--set", "engine.zero_stage=1", "--json")
        )
        assert (other["days"][0] < result["days"][0]) == (best == 1)
        assert result["days"][0] * 1024 > 1.2 * 8 * one["days"][0], "no faster per GPU than one node"
        assert result["days"][1] * 1024 == pytest.approx(8 * one["days"][1], rel=0.25), "the floor has no network"
    slow = other["phases"][0]["step"]
    assert max(slow, key=lambda part: slow[part]) == "bandwidth"
    assert any("reduce_precision=bf16 saves" in sentence for sentence in other["advice"])


def test_weights_that_stay_gathered_cost_few_messages() -> None:
    """With a message for each of the 137 parameters, latency takes most of a step at 1,024 GPUs."""
    many = ("--nodes", "128", "--set", "batch={global_batch_size: 2048, micro_batch_size: 2}")
    run = ("base", "--gpu", "h100", *many, "--set", "engine.zero_stage=3", "--json")
    few = json.loads(plan(*run))["phases"][0]["step"]
    each = json.loads(plan(*run, "--set", "engine.zero_optimization.allgather_bucket_size=1"))["phases"][0]["step"]
    assert few["latency"] < 0.25 * sum(few.values())
    assert each["latency"] > 0.75 * sum(each.values())
    assert each["latency"] - few["latency"] > 0.25


def test_a_network_is_taken_from_options_then_the_cluster_then_its_kind(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("nodes: 2\nranks_per_node: 8\ngpu: h100\nfabric: efa\n")
    run = ("base", "--cluster", str(cluster), "--json")
    assert json.loads(plan(*run))["network"]["fabric"]["name"] == "efa"
    with cluster.open("a") as file:
        file.write("network: {fabric: 100gbe, node_bandwidth: 5, mtbf: 100, link_bandwidth: 50}\n")
    result = json.loads(plan(*run))
    fabric = result["network"]["fabric"]
    assert (fabric["node"], fabric["latency"], result["network"]["link"]) == (5e9, 20e-6, 0.8 * 50e9)
    assert result["goodput"]["between_failures"] == 50 * 3600
    assert json.loads(plan(*run, "--latency", "7", "--mtbf", "300"))["goodput"]["between_failures"] == 150 * 3600
    assert json.loads(plan(*run, "--fabric", "efa-400"))["network"]["fabric"]["node"] == 36e9


def test_a_slow_store_binds_by_what_nodes_download_in_lanes_and_in_windows() -> None:
    run = ("base", "--gpu", "h100", "--nodes", "8", "--set", "batch.micro_batch_size=3", "--json")
    slow = (*run, "--store-bandwidth", "0.001")
    windows = ("--set", "data.shuffle_window=16")

    def step(*options: str) -> dict[str, float]:
        parts: dict[str, float] = json.loads(plan(*options))["phases"][0]["step"]
        return parts

    for order, downloads in (((), 1.2), (windows, 8)):
        parts = step(*slow, *order)
        assert max(parts, key=lambda part: parts[part]) == "data"
        # Of 2 bytes per token, in data sets per epoch; eight nodes download at a time.
        assert sum(parts.values()) == pytest.approx(downloads * 2 * 576 * 8192 / 8 / 0.001e9)
        # 100 G tokens of 2 bytes are ten epochs of 20 GB. If the caches hold it, each of the nodes downloads it once.
        cached = step(*slow, *order, "--data-gb", "20")["data"]
        assert cached == pytest.approx(8 / (10 * downloads) * parts["data"], rel=1e-3)
        small = (*slow, *order, "--data-gb", "20", "--set", "data.cache_gigabytes=10")
        assert step(*small)["data"] == parts["data"]
    one = step(*run[:3], "--nodes", "1", "--store-bandwidth", "0.001", *run[5:])
    assert sum(one.values()) == pytest.approx(2 * 576 * 8192 / 0.001e9), "one node reads everything once, in lanes too"


def test_saves_that_cost_much_are_advised_away() -> None:
    settings = ("--set", "checkpoint.every_steps=10000", "--set", "batch.micro_batch_size=3")
    text = plan("base", "--gpu", "h100", "--nodes", "8", "--mtbf", "50", *settings)
    assert re.search(r"checkpoint.every_steps=\d+ \(every \d+ min, the square root", text)
    with pytest.raises(UserError, match=r"a failure is expected every 0.1 hours \(8 nodes, 1 hours each\)"):
        plan("base", "--gpu", "h100", "--nodes", "8", "--mtbf", "1", *settings)


def test_advice_never_saves_less_than_once_per_run() -> None:
    sentences = json.loads(plan("tiny", "--gpu", "h100", "--gpus-per-node", "1", "--json"))
    (saves,) = re.findall(r"checkpoint.every_steps=(\d+)", " ".join(sentences["advice"]))
    assert int(saves) <= sentences["steps"]


def test_numbers_describe_a_device() -> None:
    described = ("--peak-tflops", "500", "--memory-gb", "64", "--memory-bandwidth", "2000")
    assert "on 8 described GPU with 64 GB" in plan("base", *described)


@pytest.mark.parametrize("gpu", ["h200", "a100", "l40s", "mi300x", "b200"])
def test_the_roofline_of_known_gpus(gpu: str) -> None:
    text = plan("large", "--gpu", gpu, "--nodes", "1", "--gpus-per-node", "1", "--roofline")
    assert "attention dK dV, global" in text
    floor, expected = re.findall(r"8,192 +(\S+) ms +(\S+) ms", text)[0]
    assert 0 < float(floor) < float(expected)


def test_a_roofline_without_kernels_is_refused() -> None:
    with pytest.raises(UserError, match="no Triton kernels for gfx90a and heads of 64"):
        plan("base", "--gpu", "mi250x", "--roofline")
