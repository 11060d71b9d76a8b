"""Files that several ranks write: equal to one rank's, and with few to open however many ranks there are."""

import json
from itertools import accumulate
from math import ceil, prod
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from written_run import manifest_of

from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.training.checkpoint import shard_reader
from clinical_modernbert.training.checkpoint.layout import Held, Layout, plan_together
from clinical_modernbert.training.checkpoint.manifest import (
    CheckpointManifest,
    FileEntry,
    parameters_of,
    read_manifest,
    write_manifest,
)
from clinical_modernbert.training.checkpoint.names import node_file, rank_file
from clinical_modernbert.training.checkpoint.shard_reader import ShardReader
from clinical_modernbert.training.checkpoint.snapshot import Snapshot, write_snapshot
from clinical_modernbert.training.checkpoint.stored import MAX_MANIFEST_BYTES
from clinical_modernbert.training.recipe.config import RunConfig
from clinical_modernbert.training.zero.parameter_shards import ParameterShard

REPOSITORY = Path(__file__).parents[3]
SHAPES = {"embedding": (7, 5), "norm": (3,), "matrix": (4, 6)}


def flat_partitions(shapes: dict[str, tuple[int, ...]], ranks: int) -> list[Layout]:
    """ZeRO-1: a rank has an equal part of the parameters of a group, which lie one after another.

    The groups are those of the optimizer: matrices, and norms and biases.
    """
    layouts: list[Layout] = [{} for _ in range(ranks)]
    for group in (lambda shape: len(shape) > 1, lambda shape: len(shape) == 1):
        names = [name for name, shape in shapes.items() if group(shape)]
        ends = [*accumulate(prod(shapes[name]) for name in names)]
        part = ceil(ends[-1] / ranks)
        for name, begin, end in zip(names, [0, *ends], ends, strict=False):
            for rank in range(begin // part, ceil(end / part)):
                start, stop = max(rank * part, begin), min((rank + 1) * part, end)
                layouts[rank][name] = (start - begin, stop - start, shapes[name])
    return layouts


def partitions_of_each(shapes: dict[str, tuple[int, ...]], ranks: int) -> list[Layout]:
    """ZeRO-3: a rank has an equal part of each parameter."""
    parts = {name: ceil(prod(shape) / ranks) for name, shape in shapes.items()}
    return [
        {
            name: (rank * part, min(part, prod(shapes[name]) - rank * part), shapes[name])
            for name, part in parts.items()
            if rank * part < prod(shapes[name])
        }
        for rank in range(ranks)
    ]


LAYOUTS = {1: flat_partitions, 3: partitions_of_each}


def snapshots(stage: int, ranks: int) -> tuple[list[Snapshot], dict[str, torch.Tensor]]:
    """What each rank holds of SHAPES, and the whole tensors."""
    whole = {f"{name}/{kind}": torch.randn(prod(SHAPES[name])) for name in SHAPES for kind in ("fp32", "exp_avg")}
    parts = []
    for layout in LAYOUTS[stage](SHAPES, ranks):
        tensors = {
            f"{name}/{kind}": whole[f"{name}/{kind}"][start : start + numel].clone()
            for name, (start, numel, _) in layout.items()
            for kind in ("fp32", "exp_avg")
        }
        parts.append(Snapshot(tensors, layout))
    return parts, whole


@pytest.mark.parametrize("stage", [1, 3])
@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_a_file_of_several_ranks_is_that_of_one(stage: int, ranks: int, tmp_path: Path) -> None:
    """Read by safetensors itself; the ranks write in any order over what an interrupted writer has left."""
    parts, whole = snapshots(stage, ranks)
    planned = plan_together([part.held() for part in parts])
    assert planned is not None
    file = tmp_path / node_file(0, 1)
    file.write_bytes(b"left by another" * 1000)
    for part in reversed(parts):
        write_snapshot(part, file, planned)
    written = load_file(file)
    assert written.keys() == whole.keys()
    assert all(torch.equal(written[name], value) for name, value in whole.items())
    with safe_open(file, "pt") as saved:
        layout = json.loads(saved.metadata()["layout"])
    assert layout == {name: [0, prod(shape), [*shape]] for name, shape in SHAPES.items()}


def test_ranks_whose_ranges_do_not_adjoin_have_no_file_together() -> None:
    first, second, third = [part.held() for part in snapshots(3, 3)[0]]
    assert plan_together([first, second]) is not None
    assert plan_together([first, third]) is None
    assert plan_together([first, first]) is None
    without_state = Held(second.layout, tuple(name for name in second.tensors if name.endswith("fp32")))
    assert plan_together([first, without_state]) is None
    other_shape = Held({**second.layout, "matrix": (*second.layout["matrix"][:2], (24,))}, second.tensors)
    assert plan_together([first, other_shape]) is None


def write_checkpoint(directory: Path, stage: int, nodes: int, ranks_per_node: int) -> dict[str, torch.Tensor]:
    """A checkpoint of SHAPES in a file per node."""
    parts, whole = snapshots(stage, nodes * ranks_per_node)
    saved, entries = {}, {}
    for node in range(nodes):
        mine = parts[node * ranks_per_node : (node + 1) * ranks_per_node]
        planned = plan_together([part.held() for part in mine])
        assert planned is not None
        for part in mine:
            write_snapshot(part, directory / node_file(node, nodes), planned)
        saved[node_file(node, nodes)] = planned.layout
        entries[node_file(node, nodes)] = FileEntry(bytes=planned.size, xxh3_128=("0",))
    content = {"files": entries, "parameters": parameters_of(saved)}
    write_manifest(directory, manifest_of(4).model_copy(update=content))
    return whole


@pytest.mark.parametrize("stage", [1, 3])
@pytest.mark.parametrize("read_at", [1, 3])
@pytest.mark.parametrize("ranks", [3, 8, 11])
def test_a_rank_opens_the_files_that_hold_its_elements_and_no_other(
    stage: int, read_at: int, ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_checkpoint(tmp_path, stage, nodes=4, ranks_per_node=2)
    manifest = read_manifest(tmp_path)
    opened: list[str] = []

    def counted(path: Path, **options: str) -> object:
        opened.append(path.name)
        return safe_open(path, **options)

    monkeypatch.setattr(shard_reader, "safe_open", counted)
    saved_at = LAYOUTS[stage](SHAPES, 8)
    for layout in LAYOUTS[read_at](SHAPES, ranks):
        opened.clear()
        with ShardReader(tmp_path, manifest) as saved:
            for name, (start, numel, shape) in layout.items():
                shard = ParameterShard(name, shape, start, numel, torch.empty(0), 0)
                assert saved.keys(shard) == {"fp32", "exp_avg"}
                for kind in ("fp32", "exp_avg"):
                    expected = whole[f"{name}/{kind}"][start : start + numel]
                    assert torch.equal(saved.read(shard, kind), expected)
        needed = {
            node_file(rank // 2, 4)
            for rank, held in enumerate(saved_at)
            for name, (start, numel, _) in layout.items()
            if name in held and max(start, held[name][0]) < min(start + numel, held[name][0] + held[name][1])
        }
        assert sorted(opened) == sorted(needed)
        assert manifest.files_with((name, *held[:2]) for name, held in layout.items()) == sorted(needed)


@pytest.fixture(scope="module")
def base() -> dict[str, tuple[int, ...]]:
    """The shapes of the base model."""
    recipe = load(RunConfig, REPOSITORY / "configs/base.yaml", ["run_dir=/runs/base", "batch.global_batch_size=512"])
    assert recipe.model is not None
    with torch.device("meta"):
        model = MaskedLM(recipe.model)
    return {name: tuple(value.shape) for name, value in model.named_parameters()}


def manifest_at_scale(base: dict[str, tuple[int, ...]], stage: int, ranks: int, together: int) -> CheckpointManifest:
    """The manifest of the base model that `ranks` ranks have written, `together` in a file."""
    held = [Held(layout, tuple(f"{name}/fp32" for name in layout)) for layout in LAYOUTS[stage](base, ranks)]
    files: dict[str, Layout] = {}
    for number in range(ranks // together):
        planned = plan_together(held[number * together : (number + 1) * together])
        assert planned is not None
        files[node_file(number, ranks // together)] = planned.layout
    entries = {name: FileEntry(bytes=1 << 30, xxh3_128=("0" * 32,) * together) for name in files}
    return manifest_of(4).model_copy(update={"files": entries, "parameters": parameters_of(files)})


def opened(manifest: CheckpointManifest, read: list[Layout]) -> list[int]:
    """The files that each rank opens to load."""
    return [len(manifest.files_with((name, *held[:2]) for name, held in layout.items())) for layout in read]


@pytest.mark.parametrize(
    ("stage", "at_1000", "at_other_stage"), [(1, (1_141, 2), (107_796, 120)), (3, (1_932, 3), (17_410, 44))]
)
def test_1024_ranks_open_about_a_file_each(
    stage: int, at_1000: tuple[int, int], at_other_stage: tuple[int, int], base: dict[str, tuple[int, ...]]
) -> None:
    """The numbers of decision 0064, of all ranks and the most of one: by as many, by 1,000, and at the other stage."""
    manifest = manifest_at_scale(base, stage, 1024, 8)
    for read, expected in (
        (LAYOUTS[stage](base, 1024), (1024, 1)),
        (LAYOUTS[stage](base, 1000), at_1000),
        (LAYOUTS[4 - stage](base, 1024), at_other_stage),
    ):
        counts = opened(manifest, read)
        assert (sum(counts), max(counts)) == expected
    entry = FileEntry(bytes=1 << 30, xxh3_128=("0",))
    before = {"parameters": {}, "files": {rank_file(rank, 1024): entry for rank in range(1024)}}
    assert sum(opened(manifest.model_copy(update=before), LAYOUTS[stage](base, 1024))) == 1024 * 1024


def test_a_manifest_of_128_nodes_is_small(base: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    for stage, megabytes in ((1, 0.1), (3, 1.2)):
        write_manifest(tmp_path, manifest_at_scale(base, stage, 1024, 8))
        size = (tmp_path / "manifest.json").stat().st_size
        assert round(size / 1e6, 1) == megabytes
        assert size < MAX_MANIFEST_BYTES / 20
