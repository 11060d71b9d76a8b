"""Damaged files: mutations of valid ones, and a reader per kind of file. Everything follows from a seed."""

import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from initial_model import write_initial_model
from safetensors.numpy import save_file
from small_data import write_small_data
from written_run import manifest_of, write_run
from xxhash import xxh3_128_hexdigest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.training.checkpoint.manifest import write_manifest

HANG_SECONDS = 10.0
INPUTS = int(os.environ.get("CMBERT_FUZZ_INPUTS", "100"))
"""Damaged inputs per reader."""

_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1 << 40, 1 << 70, -(1 << 70), 0.5, 1e308, float("nan"), float("inf"), "", "a", [], {}),
    *("../../outside", "/etc/passwd", "..", "a\0b", "\ud800", "\u202e", "x" * 5000, [[]], {"": None}),
)


def mutate(content: bytes, rng: random.Random) -> bytes:
    """A damaged copy of a file's content."""
    kinds: list[Callable[[bytes, random.Random], bytes]] = [_flip, _truncate, _splice, _nest]
    try:
        json.loads(content)
        kinds += [_swap_value] * 6
    except ValueError:
        kinds += [_swap_cell] * 3
    return rng.choice(kinds)(content, rng)


def _flip(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 4, 64))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _splice(content: bytes, rng: random.Random) -> bytes:
    """Content with a part of it repeated, or replaced by bytes that are no text."""
    start, end = sorted(rng.randrange(len(content)) for _ in range(2))
    inserted = rng.choice((content[start:end] * 2, b"\0" * 64, b"\xff\xfe", b"\n\n", b'"', b";"))
    return content[:start] + inserted + content[end:]


def _nest(content: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((50, 150, 1000, 200_000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return opening * depth + rng.choice((b"1" + closing * depth, b""))


def _swap_cell(content: bytes, rng: random.Random) -> bytes:
    separators = rng.choice(((b",", b";"), (b"\n", b"\r"), (b",", b",,"), (b"1", b"x"), (b".", b""), (b"0", b"-")))
    return content.replace(*separators, rng.choice((1, 3, -1)))


def _swap_value(content: bytes, rng: random.Random) -> bytes:
    """JSON with one value of another kind, one key lost, or one renamed."""
    tree = json.loads(content)
    places = list(_places(tree))
    if not places:
        return json.dumps(rng.choice(_VALUES)).encode()
    holder, key = rng.choice(places)
    action = rng.randrange(4)
    if action == 0 and isinstance(holder, dict):
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[str(rng.choice(_VALUES))] = holder.pop(key)
    else:
        holder[key] = rng.choice(_VALUES)
    return json.dumps(tree).encode()


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(tree[key])


def check(file: Path, read: Callable[[], object], count: int, seed: int) -> dict[str, int]:
    """Damage `file` `count` times and read it: it is read, or one UserError names it. Returns how often each happened.

    The directory around the file is compared before and after: a reader writes nothing.
    """
    content, seen = file.read_bytes(), {"read": 0, "refused": 0}
    around = _listing(file.parent)
    try:
        for number in range(count):
            damaged = mutate(content, random.Random(f"{seed}/{file.name}/{number}"))
            file.write_bytes(damaged)
            started = time.monotonic()
            try:
                read()
                seen["read"] += 1
            except UserError as error:
                _require_short_and_named(str(error), file, number)
                seen["refused"] += 1
            except Exception as error:
                raise AssertionError(f"input {number}: {type(error).__name__}: {error}") from error
            assert time.monotonic() - started < HANG_SECONDS, number
            assert _listing(file.parent) == around, number
    finally:
        file.write_bytes(content)
    return seen


def _require_short_and_named(message: str, file: Path, number: int) -> None:
    assert file.name in message or str(file.parent) in message, f"{number}: {message[:500]}"
    assert len(message) < 20_000, f"{number}: {len(message)} characters"


def _listing(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.parent.rglob("*") if directory in path.parents)


def targets(root: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    """Kind of file -> a valid one below `root`, and what reads it."""
    from clinical_modernbert.launcher.runs.status import read_status
    from clinical_modernbert.model.hugging_face import from_pretrained
    from clinical_modernbert.model.hugging_face_config import read_config
    from clinical_modernbert.streaming_data.shards.manifest import read_manifest as read_data_manifest
    from clinical_modernbert.streaming_data.shards.mds import PackReader
    from clinical_modernbert.streaming_data.tokenizer.tokenizer import load as load_tokenizer
    from clinical_modernbert.training.checkpoint.attempts import read_attempts
    from clinical_modernbert.training.checkpoint.manifest import read_manifest
    from clinical_modernbert.training.checkpoint.shard_reader import ShardReader
    from clinical_modernbert.training.metrics.csv_log import read_rows
    from clinical_modernbert.training.metrics.writer import StepMetrics
    from clinical_modernbert.training.resilience.skips import load_skips

    root.mkdir(exist_ok=True)
    run = write_run(root / "run", steps=5)
    (run / "skips.json").write_text('[{"after": 8, "packs": 4}, {"after": 64, "packs": 16}]')
    checkpoint = root / "step00000004"
    checkpoint.mkdir()
    write_manifest(checkpoint, manifest_of(4))
    signed = root / "signed"
    shutil.copytree(checkpoint, signed)
    shards, described = root / "shards", manifest_of(4)
    (rank_file,) = described.files
    shards.mkdir()
    layout = {"layout": json.dumps({"a.weight": [0, 12, [3, 4]], "b": [0, 2, [2]]})}
    values = {"a.weight/fp32": np.ones(12, np.float32), "b/fp32": np.ones(2, np.float32)}
    save_file(values, shards / rank_file, metadata=layout)
    data = write_small_data(root / "data", packs=4)
    model = root / "model"
    write_initial_model(model)

    def read_signed() -> None:
        """Read a manifest whose own hash is right, so that the schema is what refuses it."""
        file = signed / "manifest.json"
        try:
            content = json.loads(file.read_bytes())
            del content["manifest_hash"]
            text = json.dumps(content, sort_keys=True).encode()
            file.write_bytes(json.dumps(content | {"manifest_hash": xxh3_128_hexdigest(text)}).encode())
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        read_manifest(signed)

    def read_shards() -> None:
        with ShardReader(shards, described) as reader:
            for name in reader.shapes:
                reader.read_full(name, "fp32")

    return {
        "checkpoint manifest": (checkpoint / "manifest.json", lambda: read_manifest(checkpoint)),
        "signed manifest": (signed / "manifest.json", read_signed),
        "checkpoint safetensors": (shards / rank_file, read_shards),
        "attempt": (run / "attempts/00002.json", lambda: (read_attempts(run), read_status(run))),
        "launches": (run / "launches.jsonl", lambda: read_status(run)),
        "metrics": (run / "metrics.csv", lambda: (read_rows(run / "metrics.csv", StepMetrics), read_status(run))),
        "skips": (run / "skips.json", lambda: load_skips(run)),
        "data manifest": (data / "manifest.json", lambda: read_data_manifest(str(data))),
        "index": (data / "notes/train/index.json", lambda: PackReader(str(data / "notes/train"))),
        "config.json": (model / "config.json", lambda: read_config(model)),
        "model.safetensors": (model / "model.safetensors", lambda: from_pretrained(model)),
        "tokenizer.json": (data / "tokenizer/tokenizer.json", lambda: load_tokenizer(data / "tokenizer")),
        "tokenizer_config.json": (data / "tokenizer/tokenizer_config.json", lambda: load_tokenizer(data / "tokenizer")),
    }


if __name__ == "__main__":
    root = Path(tempfile.mkdtemp())
    try:
        for kind, (file, read) in targets(root).items():
            started = time.monotonic()
            try:
                seen: object = check(file, read, INPUTS, seed=0)
            except AssertionError as error:
                seen = f"FAILED {error}"
            print(f"{kind:24} {INPUTS:6} {seen} {time.monotonic() - started:.0f} s", flush=True)
    finally:
        shutil.rmtree(root)
