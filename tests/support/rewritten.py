"""A checkpoint written again in another number of files, and as another version would have, by code of its own."""

import json
from pathlib import Path

import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import save_file


def full_tensors(checkpoint: Path) -> tuple[dict[str, torch.Tensor], dict[str, list[int]]]:
    """Every saved tensor, flat, by `<parameter>/<kind>`, and the shapes of the parameters."""
    tensors: dict[str, torch.Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(file, "pt") as saved:
            layout = json.loads(saved.metadata()["layout"])
            for key in saved.keys():  # noqa: SIM118
                name = key.rsplit("/", 1)[0]
                start, numel, shapes[name] = layout[name]
                full = tensors.setdefault(key, torch.full((torch.Size(shapes[name]).numel(),), torch.nan))
                assert full[start : start + numel].isnan().all(), f"{key} is written twice"
                full[start : start + numel] = saved.get_tensor(key)
    assert not any(value.isnan().any() for value in tensors.values())
    return tensors, shapes


def rewrite(checkpoint: Path, kind: str = "rank", count: int = 2) -> None:
    """Divide a checkpoint into `count` files: of ranks, as version 1 did, or of nodes, with their layouts in version 2.

    As at ZeRO-1, each file holds a part of all parameters one after another.
    """
    tensors, shapes = full_tensors(checkpoint)
    content = json.loads((checkpoint / "manifest.json").read_text())
    for file in checkpoint.glob("*.safetensors"):
        file.unlink()
    sizes = {name: torch.Size(shape).numel() for name, shape in shapes.items()}
    content |= {"version": 1 if kind == "rank" else 2, "files": {}}
    parameters: dict[str, dict] = {name: {"shape": shape, "ranges": {}} for name, shape in shapes.items()}
    for number in range(count):
        begin, end = (sum(sizes.values()) * part // count for part in (number, number + 1))
        name_of_file, before = f"{kind}{number:05d}-of-{count:05d}.safetensors", 0
        layout: dict[str, tuple[int, int, list[int]]] = {}
        mine: dict[str, torch.Tensor] = {}
        for name, size in sizes.items():
            start, stop = max(begin - before, 0), min(end - before, size)
            before += size
            if start < stop:
                layout[name] = (start, stop - start, shapes[name])
                parameters[name]["ranges"][name_of_file] = [start, stop - start]
                keys = [key for key in tensors if key.rsplit("/", 1)[0] == name]
                mine |= {key: tensors[key][start:stop].clone() for key in keys}
        save_file(mine, checkpoint / name_of_file, metadata={"layout": json.dumps(layout)})
        written = (checkpoint / name_of_file).read_bytes()
        content["files"][name_of_file] = {"bytes": len(written), "xxh3_128": xxhash.xxh3_128_hexdigest(written)}
    if kind == "rank":
        content.pop("parameters", None)
    else:
        content["parameters"] = parameters
    sign(checkpoint, content)


def sign(checkpoint: Path, content: dict) -> None:
    """Write a manifest with its hash, as every version has done."""
    content.pop("manifest_hash", None)
    digest = xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
    (checkpoint / "manifest.json").write_text(json.dumps({**content, "manifest_hash": digest}))
