"""Write the output and tables of `cmbert plan` into docs/planning.md.

    python docs/site/planning.py

A generated block stands between `<!-- plan NAME: begin -->` and `<!-- plan NAME: end -->`. NAME is a key of BLOCKS.
"""

import json
import re
import runpy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

from typer.testing import CliRunner

from clinical_modernbert.configs.loader.load import load, locate_recipe
from clinical_modernbert.configs.loader.recipes import TRAINING
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.training.planning.calls import Call, choose_tiles, count_calls
from clinical_modernbert.training.planning.devices import find_gpu
from clinical_modernbert.training.planning.fabric import FABRICS
from clinical_modernbert.training.planning.roofline import HOST_SECONDS, UPDATE_BYTES, operations_of
from clinical_modernbert.training.recipe.config import RunConfig

PAGE = Path(__file__).resolve().parents[1] / "planning.md"
DEVICES = ("H100", "H200", "A100", "L40S", "MI300X")
MICRO_BATCHES = {"base": 8, "large": 4}
MASKED = 0.3
UPDATE_BYTES_BEFORE = 208
"""Bytes per weight of the update in 33 operators of PyTorch, counted on a CPU."""


def render(page: str) -> str:
    """The page with every generated block made again."""
    return re.sub(
        r"(<!-- plan (\w+): begin -->\n).*?(<!-- plan \2: end -->)",
        lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n{found[3]}",
        page,
        flags=re.DOTALL,
    )


def plan(*arguments: str) -> str:
    """What `cmbert plan` prints on a terminal of 90 columns."""
    result = CliRunner().invoke(app, ["plan", *arguments], env={"COLUMNS": "90"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def printed(command: str) -> str:
    """A command with its output."""
    output = "\n".join(line.rstrip() for line in plan(*command.split()).splitlines())
    return f"`cmbert plan {command}`:\n\n```\n{output}\n```\n"


def runs() -> str:
    """Memory, communication, hours and cost of the published recipes on one node and on eight."""
    rows = []
    for recipe in MICRO_BATCHES:
        for gpus in (8, 64):
            run = [recipe, "--gpu", "h100", "--nodes", str(gpus // 8), "--price", "2.5"]
            result = json.loads(plan(*run, *set_micro_batch(3 if gpus == 64 else None), "--json"))
            once = {o["zero_stage"]: o for o in result["options"] if not o["activation_checkpointing"]}
            hours = [24 * days for days in result["days"]]
            sizes = (once[1]["peak"], once[1]["sent"], once[3]["sent"])
            cells = [recipe, f"{gpus} H100", *(f"{size / 1e9:.2f} GB" for size in sizes)]
            rows.append([*cells, f"{hours[0]:.1f} (at least {hours[1]:.1f})", f"{result['cost'][0]:,.0f}"])
    titles = ("recipe", "GPUs", "peak at ZeRO-1", "sent at ZeRO-1", "sent at ZeRO-3", "expected hours", "cost")
    return table(titles, rows)


def speeds() -> str:
    """Tokens per second of one device, beside a quarter to a third of its peak, which `plan` once assumed."""
    rows = []
    for recipe, packs in MICRO_BATCHES.items():
        for device in DEVICES:
            run = (recipe, "--gpu", device, "--gpus-per-node", "1", *set_micro_batch(packs), "--json")
            result = json.loads(plan(*run))
            for phase in result["phases"]:
                expected, floor = phase["tokens_per_second"]
                assumed = (share * result["gpu"]["peak"] * phase["tokens"] / phase["flops"] for share in (0.25, 0.35))
                cells = [recipe, device, f"{phase['max_seqlen']:,}", thousands(floor), thousands(expected)]
                rows.append([*cells, " to ".join(map(thousands, assumed))])
    titles = ("recipe", "device", "max. length", "at most", "expected", "before: 25 to 35 % of the peak")
    return table(titles, rows)


def levers() -> str:
    """A micro-batch and an update of one device, without the levers of docs/planning.md and with them."""
    rows, traced = [], {}
    for recipe, packs in MICRO_BATCHES.items():
        config = load(RunConfig, locate_recipe(recipe, TRAINING), [])
        model, tokens = config.model, packs * config.data.seq_length
        assert model is not None
        for device in DEVICES:
            gpu = find_gpu(device)
            assert gpu is not None
            for length in (1024, config.data.seq_length):
                lengths, masked = [length] * (tokens // length), round(MASKED * tokens)
                key = (recipe, gpu.architecture, length)
                if key not in traced:
                    traced[key] = calls_without_levers(model, lengths, masked, gpu.architecture)
                now = count_calls(model, lengths, masked, gpu.architecture)
                cells = [recipe, device, f"{length:,}"]
                for calls, update in ((traced[key], UPDATE_BYTES_BEFORE), (now, UPDATE_BYTES)):
                    operations = operations_of(
                        [*calls, Call("update", "", "memory", 0, update * model.num_parameters)], gpu
                    )
                    last = next(o for o in operations if o.phase == "update")
                    launches, size = (sum(getattr(c, kind) for c in calls) for kind in ("launches", "bytes"))
                    device_time = sum(o.expected for o in operations) - last.expected
                    expected = max(device_time, launches * HOST_SECONDS)
                    cells += [f"{launches:,}", f"{size / tokens / 1e6:.2f}"]
                    cells += [f"{expected * 1e3:.1f}", f"{last.expected * 1e3:.1f}"]
                rows.append(cells)
    titles = ("launches", "MB per token", "micro-batch, ms", "update, ms")
    return table(("recipe", "device", "max. length", *(f"{t}, before" for t in titles), *titles), rows)


def calls_without_levers(config: ModelConfig, lengths: list[int], masked: int, architecture: str) -> list[Call]:
    """What the model called before: a sum and a norm for each update, all rows in the last layer, RoPE in copies."""
    from clinical_modernbert.model import encoder
    from clinical_modernbert.training.planning.trace import trace_calls

    def layer(self: Any, hidden: Any, update: Any, batch: Any, how: Any, rows: Any) -> tuple[Any, None]:
        norm = self.attn_norm
        normed = hidden if norm is None else encoder.layer_norm(hidden, norm.weight, norm.eps)
        hidden, normed = self.mlp_norm(hidden, self.attn(normed, batch, how, None))
        return hidden + self.mlp(normed), None

    def all_rows(self: Any, input_ids: Any, batch: Any, rows: Any = None) -> Any:
        hidden = forward(self, input_ids, batch)
        return hidden if rows is None else hidden.index_select(0, rows)

    forward, tiles = encoder.Encoder.forward, choose_tiles(config, architecture, 2)
    changed = {encoder.EncoderLayer: layer, encoder.Encoder: all_rows}
    patches = [mock.patch.object(owner, "forward", function) for owner, function in changed.items()]
    with patches[0], patches[1]:
        calls = trace_calls(config, lengths, masked, tiles, 2)
    again = [Call("backward", call.name, call.kind, call.launches, call.bytes) for call in calls if call.name == "RoPE"]
    return [*calls, *again]


def network() -> str:
    """What binds on 8 to 1,024 GPUs, with the step played event by event next to the planned one."""
    script = runpy.run_path(str(PAGE.parents[1] / "benchmarks" / "network.py"))
    return table(script["TITLES"], script["rows"](("base", "large"), tuple(script["BATCHES"])))


def fabrics() -> str:
    """The networks that `plan` knows."""
    cells = (
        [f"`{each.name}`", f"{each.node / 1e9:g}", f"{1e6 * each.latency:g}", each.source.split(":")[0]]
        for each in FABRICS
    )
    return table(("fabric", "GB/s out of a node", "hop, us", "what it is, and the assumption"), cells)


def set_micro_batch(packs: int | None) -> list[str]:
    return [] if packs is None else ["--set", f"batch.micro_batch_size={packs}"]


def thousands(number: float) -> str:
    return f"{number / 1e3:,.0f}k"


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(titles), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


BLOCKS: dict[str, Callable[[], str]] = {
    "forecast": lambda: printed("base --gpu h100 --price 2.5"),
    "runs": runs,
    "roofline": lambda: printed(
        "base --gpu h100 --gpus-per-node 1 --set engine.zero_stage=1 --set batch.micro_batch_size=8 --roofline"
    ),
    "levers": levers,
    "speeds": speeds,
    "network": network,
    "fabrics": fabrics,
}


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
