"""Chunks of texts as vectors, and the files that hold them."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...configs.errors import UserError
from .chunks import Part, Record
from .processes import Compute, Count, Result, one_thread, use_device
from .sentence_layout import SentenceLayout
from .windows import Long, segment_windows, text_windows

if TYPE_CHECKING:
    from ..models.model import EvaluatedModel

Vectors = npt.NDArray[np.float32]
SUFFIXES = (".parquet", ".jsonl", ".npy")


@dataclass(frozen=True)
class Embedder:
    """Computes the vectors of chunks. Called with records, it returns their ids as a line of JSON, then float32 (N, d).

    On a CPU it computes with one thread: a sum over several depends on their number, and so would the bytes.

    Attributes:
        tokens: computed at a time.
    """

    model: "EvaluatedModel"
    layout: SentenceLayout
    long: Long
    tokens: int

    def __call__(self, records: Sequence[Record], count: Count) -> Result:
        with one_thread():
            return self._compute(records, count)

    def _compute(self, records: Sequence[Record], count: Count) -> Result:
        texts = [record.content for record in records]
        limit = min(self.model.max_length, self.layout.max_length or self.model.max_length)
        if isinstance(texts[0], str):
            windows = text_windows(
                self.model.tokenizer, [self.layout.prompt + text for text in texts], limit, self.long
            )
        else:
            windows = [segment_windows(ids, limit, self.long) for ids in texts]
        lengths = [len(window.ids) for window in windows]
        vectors = self._embed([ids for window in windows for ids in window.ids], count, sum(lengths) / len(lengths))
        starts = [0, *accumulate(lengths)][:-1]
        means = np.add.reduceat(vectors, starts) / np.array(lengths, np.float32)[:, None]
        if self.layout.normalize:
            means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        names = json.dumps([record.id for record in records], ensure_ascii=False).encode()
        counts = {
            "texts": len(texts),
            "tokens": sum(len(ids) for window in windows for ids in window.ids),
            "long": sum(window.is_long for window in windows),
        }
        return Result(names + b"\n" + means.astype("<f4").tobytes(), counts)

    def _embed(self, sequences: Sequence[list[int]], count: Count, per_text: float) -> Vectors:
        """The vector of each sequence, (N, d).

        Sequences of similar length are computed together. The groups are shuffled: in the order of their lengths the
        rate of texts would change all the time, and the remaining time could not be estimated from it.
        """
        import torch

        from ..models.pooling import group_by_tokens, pool

        def length(index: int) -> int:
            return len(sequences[index])

        order = sorted(range(len(sequences)), key=lambda index: -length(index))
        vectors = np.zeros((len(sequences), self.model.hidden_size), np.float32)
        groups = list(group_by_tokens(order, length, self.tokens, padded=not self.model.unpadded))
        random.Random(0).shuffle(groups)
        counted = 0
        with torch.no_grad():
            for group in groups:
                part = [torch.tensor(sequences[index]) for index in group]
                hidden = self.model.encode(self.model.encoder, part)
                lengths = [len(ids) for ids in part]
                vectors[group] = pool(hidden, lengths, self.layout.pooling).float().cpu().numpy()
                before, counted = counted, counted + len(group)
                count(int(counted / per_text) - int(before / per_text), sum(lengths))
        if not np.isfinite(vectors).all():
            raise UserError(
                f"{self.model.name}: its outputs have NaN or infinity; was it exported from a run that diverged?"
            )
        return vectors


def open_embedder(
    open_model: "Callable[[], EvaluatedModel]", layout: SentenceLayout, long: Long, tokens: int, process: int
) -> Compute[Record]:
    """Open the model in a process: on the GPU with its number, or on the CPU."""
    use_device(process)
    return Embedder(open_model(), layout, long, tokens)


def write_vectors(name: str, facts: dict[str, Any], parts: Sequence[Part], directory: Path) -> None:
    """Write ids and vectors to the file `name` in a directory, by its suffix; of `.npy`, the ids to NAME.ids.jsonl.

    Args:
        facts: how the vectors were made, for the metadata of a Parquet file.
    """
    path = directory / name
    {".parquet": _write_parquet, ".jsonl": _write_jsonl, ".npy": _write_npy}[path.suffix](path, facts, parts)


def _read_vectors(part: Part) -> tuple[list[str], Vectors]:
    names, _, rest = part.content().partition(b"\n")
    ids = json.loads(names)
    return ids, np.frombuffer(rest, "<f4").reshape(len(ids), -1)


def _write_parquet(path: Path, facts: dict[str, Any], parts: Sequence[Part]) -> None:
    pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    width = _read_vectors(parts[0])[1].shape[1]
    schema = pa.schema(
        [pa.field("id", pa.string()), pa.field("vector", pa.list_(pa.float32(), width))],
        metadata={"cmbert": json.dumps(facts)},
    )
    with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        for part in parts:
            ids, vectors = _read_vectors(part)
            flat = pa.array(vectors.ravel(), pa.float32())
            columns = [pa.array(ids, pa.string()), pa.FixedSizeListArray.from_arrays(flat, width)]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=len(ids))


def _write_jsonl(path: Path, facts: dict[str, Any], parts: Sequence[Part]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for part in parts:
            ids, vectors = _read_vectors(part)
            for name, row in zip(ids, vectors.astype(str), strict=True):  # the shortest digits that give this float32
                file.write(f'{{"id": {json.dumps(name, ensure_ascii=False)}, "vector": [{", ".join(row)}]}}\n')


def _write_npy(path: Path, facts: dict[str, Any], parts: Sequence[Part]) -> None:
    shape = (sum(part.counts()["texts"] for part in parts), _read_vectors(parts[0])[1].shape[1])
    names = path.with_suffix(".ids.jsonl")
    with path.open("wb") as file, names.open("w", encoding="utf-8") as ids_file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for part in parts:
            ids, vectors = _read_vectors(part)
            file.write(vectors.tobytes())
            ids_file.writelines(json.dumps(name, ensure_ascii=False) + "\n" for name in ids)
