"""A step of the engine and a run with failures, played event by event on 8 to 1,024 ranks, beside what `plan` predicts.

    python benchmarks/network.py [base large] [--gpus 8 64 512 1024]

Nothing here is a formula for the time of a collective: each piece of a tensor is followed over each link. A hop of a
ring begins when its sender has the piece and the link is free; a chunk of a tree moves up when both children have sent
it. Every rank computes at its own speed, with a jitter in each micro-batch. Only the inputs are those of
`training/planning`: the seconds of a micro-batch on one device, the rates and latencies of the network, and how much
ranks differ. Prints a Markdown table.
"""

import argparse
import heapq
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Times: TypeAlias = npt.NDArray[np.float64]
"""Seconds since the start, of each rank."""
FABRICS = ("infiniband-400x8", "efa", "100gbe")
GATHERED = 4
"""ZeRO-3 with weights that are gathered for each micro-batch; 3: with weights that stay gathered."""
BATCHES = {8: 576, 64: 576, 512: 1024, 1024: 2048}
"""Packs of a step on so many GPUs: the smallest multiple of the ranks that is not below the recipe's."""


@dataclass(frozen=True)
class Links:
    """Bytes per second and seconds of a hop, in nodes of `local` ranks and between them; `launch` of a collective."""

    local: int
    link: float
    hop: float
    node: float
    node_hop: float
    launch: float = 10e-6


@dataclass(frozen=True)
class Work:
    """What one rank does in a step.

    Attributes:
        batch, update: seconds of a micro-batch, launches included, and of the optimizer, on a device of mean speed.
        micro_batches: per step.
        matrices: elements of each matrix, in the order of forward.
        vectors: elements of each vector.
        spread_of_ranks, spread_of_batches: standard deviations of speed and of time.
        report: seconds in which rank 0 receives one rank's report.
    """

    batch: float
    update: float
    micro_batches: int
    matrices: tuple[int, ...]
    vectors: tuple[int, ...]
    spread_of_ranks: float
    spread_of_batches: float
    report: float = 5e-6


class Ranks:
    """Ranks in a ring: the first of each node receives from another node."""

    def __init__(self, count: int, links: Links, seed: int = 0) -> None:
        self.count, self.links, self.random = count, links, np.random.default_rng(seed)
        between = (np.arange(count) % links.local == 0) & (count > links.local)
        self._rate = np.where(between, links.node, links.link)
        self._hop = np.where(between, links.node_hop, links.hop)
        self._tree: dict[float, bool] = {}

    def compute(self, ready: Times, seconds: float, work: Work, speed: Times) -> Times:
        jitter = 1 + work.spread_of_batches * self.random.standard_normal(self.count)
        return ready + seconds * speed * jitter

    def pass_on(self, ready: Times, size: float, turns: int) -> Times:
        """Each rank passes its pieces to the next, `turns` times around less one hop each; when each has the last."""
        if self.count == 1:
            return ready
        rounds, cost = turns * (self.count - 1), size / self.count / self._rate
        have = np.empty(self.count + 1)
        have[1:] = ready + self.links.launch
        free = have[1:].copy()  # the link into each rank
        for _ in range(rounds):
            have[0] = have[-1]
            np.maximum(have[:-1], free, out=free)
            free += cost
            np.add(free, self._hop, out=have[1:])
        return np.maximum(have[1:], ready)

    def gather(self, ready: Times, size: float) -> Times:
        return self.pass_on(ready, size, 1)

    def reduce(self, ready: Times, size: float) -> Times:
        """An all-reduce, by ring or tree: by what is faster for ranks that begin together, as the library tunes."""
        if self.count <= self.links.local:
            return self.pass_on(ready, size, 2)
        if size not in self._tree:
            together = np.zeros(self.count)
            self._tree[size] = bool(self.by_trees(together, size).max() < self.pass_on(together, size, 2).max())
        return self.by_trees(ready, size) if self._tree[size] else self.pass_on(ready, size, 2)

    def by_trees(self, ready: Times, size: float, least: int = 2**20, most: int = 128) -> Times:
        """Two binary trees of nodes with half of the chunks each, the second in reverse order; chains inside nodes."""
        links, nodes = self.links, self.count // self.links.local
        chunks = int(np.clip(np.ceil(size / least), 2, most)) if size > 2 * least else 2
        chunk = size / chunks
        inside = (links.local - 1) * (links.hop + chunk / links.link)
        begin = ready.reshape(nodes, links.local).max(axis=1) + links.launch + inside
        children = [[child for child in (2 * i + 1, 2 * i + 2) if child < nodes] for i in range(nodes)]
        waiting: dict[tuple[int, int], int] = {}
        leaving, arriving = [0.0] * nodes, [0.0] * nodes
        last, number = [0.0] * nodes, itertools.count()
        events: list[tuple[float, int, str, int, int]] = []

        def place(chunk_number: int, at: int) -> int:
            """The node at a place of the chunk's tree."""
            return at if chunk_number % 2 == 0 else nodes - 1 - at

        def push(time: float, way: str, chunk_number: int, at: int) -> None:
            heapq.heappush(events, (time, next(number), way, chunk_number, at))

        for k in range(chunks):
            for at in range(nodes):
                waiting[k, at] = len(children[at]) + 1
                push(begin[place(k, at)] + k * chunk / links.link, "have", k, at)
        while events:
            time, _, way, k, at = heapq.heappop(events)
            if way == "have":  # its own, or a child's
                waiting[k, at] -= 1
                if waiting[k, at] == 0:
                    push(time, "up" if at else "down", k, at)
            elif way == "up":
                above = (at - 1) // 2
                push(self._send(time, place(k, at), place(k, above), chunk, leaving, arriving), "have", k, above)
            else:
                last[place(k, at)] = max(last[place(k, at)], time)
                for child in children[at]:
                    push(self._send(time, place(k, at), place(k, child), chunk, leaving, arriving), "down", k, child)
        return np.repeat(np.array(last) + inside, links.local)

    def _send(
        self, time: float, source: int, target: int, size: float, leaving: list[float], arriving: list[float]
    ) -> float:
        """When a chunk has arrived. A node sends and receives one at a time; switches hold the others."""
        begun = max(time, leaving[source])
        leaving[source] = begun + size / self.links.node
        arriving[target] = max(begun, arriving[target]) + size / self.links.node
        return arriving[target] + self.links.node_hop

    def agree(self, ready: Times, report: float) -> Times:
        """Rank 0 receives a report from each rank, one after the other, and answers through a tree."""
        now = 0.0
        for arrival in np.sort(ready[1:]):
            now = max(now, arrival) + report
        depth = int(np.ceil(np.log2(max(2, self.count))))
        hop = self.links.node_hop if self.count > self.links.local else self.links.hop
        return np.full(self.count, max(now, ready[0]) + depth * hop)


def play_step(ranks: Ranks, work: Work, stage: int, ahead: float = 5e7, together: float = 1e8) -> float:
    """Seconds of one step at ZeRO stage 1, 3 or `GATHERED`.

    Args:
        ahead: elements that are gathered ahead of a micro-batch's computation, in one message.
        together: the most elements that are gathered in one message after a step.
    """
    speed = 1 + work.spread_of_ranks * ranks.random.standard_normal(ranks.count)
    ready = np.zeros(ranks.count)
    matrices, vectors = sum(work.matrices), sum(work.vectors)
    for _ in range(work.micro_batches):
        if stage == GATHERED:
            ready = _gathering(ranks, ready, work, speed, ahead)
        else:
            ready = ranks.compute(ready, work.batch, work, speed)
        if stage > 1:  # the gradients of the micro-batch, in one bucket
            ready = ranks.gather(ready, 4 * (matrices + vectors))
    if stage == 1:
        ready = ranks.reduce(ranks.reduce(ready, 4 * matrices), 4 * vectors)
    for _ in range(1 if stage == 1 else 4):
        ready = ranks.reduce(ready, 8 * (len(work.matrices) + len(work.vectors)))
    ready = ready + work.update
    if stage == 1:
        messages = [matrices, vectors]
    else:
        messages = [0]
        for elements in (*work.matrices, *work.vectors) if stage == 3 else work.vectors:
            if messages[-1] + elements > together:
                messages.append(0)
            messages[-1] += elements
    for elements in filter(None, messages):
        ready = ranks.gather(ready, 2 * elements)
    return float(ranks.agree(ready, work.report).max())


def _gathering(ranks: Ranks, ready: Times, work: Work, speed: Times, ahead: float) -> Times:
    """A micro-batch whose weights arrive in pieces, one after the other, while it computes with those before."""
    pieces: list[float] = [0.0]
    for elements in work.matrices:
        pieces[-1] += elements
        if pieces[-1] >= ahead:
            pieces.append(0.0)
    arrived, computed = ready, ready
    for piece in filter(None, pieces):
        arrived = ranks.gather(arrived, 2 * piece)
        share = piece / sum(work.matrices)
        computed = ranks.compute(np.maximum(computed, arrived), share * work.batch / 3, work, speed)
    return ranks.compute(computed, work.batch * 2 / 3, work, speed)


def play_run(
    interval: float,
    stall: float,
    write: float,
    start: float,
    between_failures: float,
    noticed: Sequence[tuple[float, float]],
    days: float,
    seed: int = 0,
) -> float:
    """The share of the time spent on steps that are kept, of a run with failures at random times.

    Args:
        interval: seconds of steps between saves.
        stall, write: seconds in which a save stops training, and until it is complete.
        start: seconds from a start to the first step.
        noticed: (probability, seconds until the run has ended) of each kind of failure.
    """
    random = np.random.default_rng(seed)
    odds, delays = zip(*noticed, strict=True)
    now = kept = 0.0
    while now < 86400 * days:
        failure, trained = now + float(random.exponential(between_failures)), now + start
        complete = 0  # saves
        while trained + interval + stall + write <= failure:
            trained, complete = trained + interval + stall, complete + 1
        kept += complete * interval
        now = failure + float(random.choice(delays, p=odds))
    return kept / now


def plan(recipe: str, gpus: int, fabric: str, stage: int) -> dict[str, Any]:
    """What `cmbert plan --json` prints for H100s."""
    from typer.testing import CliRunner

    from clinical_modernbert.launcher.cli import app

    each = BATCHES[gpus] // gpus
    micro = next(size for size in (4, 3, 2, 1) if each % size == 0)
    sets = [f"batch={{global_batch_size: {BATCHES[gpus]}, micro_batch_size: {micro}}}"]
    sets.append(f"engine.zero_stage={min(stage, 3)}")
    if stage == GATHERED:
        sets.append("engine.zero_optimization.stage3_param_persistence_threshold=100_000")
    options = [option for setting in sets for option in ("--set", setting)]
    arguments = [recipe, "--gpu", "h100", "--nodes", str(gpus // 8), "--fabric", fabric, *options, "--json"]
    result = CliRunner().invoke(app, ["plan", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    planned: dict[str, Any] = json.loads(result.stdout)
    return planned


def inputs(recipe: str, planned: dict[str, Any], packs: int, micro: int) -> tuple[Links, Work]:
    """The inputs that the simulation shares with the plan of the first phase: of one device, and of the links."""
    from clinical_modernbert.configs.loader.load import load, locate_recipe
    from clinical_modernbert.configs.loader.recipes import TRAINING
    from clinical_modernbert.training.planning import fabric, step_time
    from clinical_modernbert.training.recipe.config import RunConfig
    from clinical_modernbert.training.zero.partition import parameter_sizes

    model = load(RunConfig, locate_recipe(recipe, TRAINING), []).model
    assert model is not None
    network, step = planned["network"], planned["phases"][0]["step"]
    sizes, count = parameter_sizes(model), packs // micro // planned["ranks"]
    links = Links(
        local=network["local"],
        link=network["link"],
        hop=fabric.LINK_LATENCY,
        node=network["fabric"]["node"],
        node_hop=network["fabric"]["latency"],
        launch=fabric.LAUNCH,
    )
    vectors = {model.hidden_size, model.vocab_size}
    return links, Work(
        batch=(step["device"] + step["host"]) / count,  # with the update, which is small
        update=0.0,
        micro_batches=count,
        matrices=tuple(size for size in sizes if size not in vectors),
        vectors=tuple(size for size in sizes if size in vectors),
        spread_of_ranks=step_time.SPREAD_OF_RANKS,
        spread_of_batches=step_time.SPREAD_OF_BATCHES,
    )


def compare(recipe: str, gpus: int, fabric: str, stage: int, seeds: int = 1) -> tuple[dict[str, Any], float]:
    """(the plan, seconds of a played step of its first phase)."""
    planned = plan(recipe, gpus, fabric, stage)
    each = BATCHES[gpus] // gpus
    micro = next(size for size in (4, 3, 2, 1) if each % size == 0)
    links, work = inputs(recipe, planned, BATCHES[gpus], micro)
    played = [play_step(Ranks(gpus, links, seed), work, stage) for seed in range(seeds)]
    return planned, float(np.mean(played))


def rows(recipes: Sequence[str], counts: Sequence[int], seeds: int = 1) -> Iterator[list[str]]:
    """Cells of the table, for each recipe, fabric and number of GPUs."""
    for recipe, fabric, gpus in itertools.product(recipes, FABRICS, counts):
        if gpus == 8 and fabric != FABRICS[0]:
            continue
        cells = [recipe, fabric if gpus > 8 else "one node", f"{gpus:,}", f"{BATCHES[gpus]:,}"]
        for stage in (1, 3):
            planned, played = compare(recipe, gpus, fabric, stage, seeds)
            phase = planned["phases"][0]
            total, most = sum(phase["step"].values()), max(phase["step"], key=lambda part: phase["step"][part])
            share = f"{phase['step'][most] / total:.0%}"
            cells += [f"{1e3 * total:,.0f}", f"{1e3 * played:,.0f}", f"{most.replace('device', 'computation')} {share}"]
            if stage == 1:
                cells += [f"{phase['tokens_per_second'][0] / gpus / 1e3:,.0f}k", f"{24 * planned['days'][0]:.1f}"]
        yield cells


TITLES = (
    *("recipe", "fabric", "GPUs", "packs", "ZeRO-1, ms", "played", "binds", "tokens/s per GPU", "hours"),
    *("ZeRO-3, ms", "played", "binds"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=["base", "large"])
    parser.add_argument("--gpus", nargs="+", type=int, default=[*BATCHES], choices=[*BATCHES])
    options = parser.parse_args()
    print("| " + " | ".join(TITLES) + " |\n| " + " | ".join(["---"] * len(TITLES)) + " |")
    for cells in rows(options.recipes, options.gpus):
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
