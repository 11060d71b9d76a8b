"""The file that the ranks of a node write together: a safetensors file in which each rank's range has its place.

It has one tensor per parameter and kind, of the elements that the node's ranks hold together, so it looks as if one
rank had written it. Nothing here needs torch.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import NamedTuple

BYTES = 4
"""Of an element: all tensors are fp32."""

Layout = dict[str, tuple[int, int, tuple[int, ...]]]
"""Of each parameter: the start of a range of its elements, their number, and the shape of the whole parameter."""


class Held(NamedTuple):
    """What one rank writes: the layout of its shards, and the names of its tensors, `<parameter>/<kind>`."""

    layout: Layout
    tensors: tuple[str, ...]


class TensorFile(NamedTuple):
    """A file of a checkpoint, before it is written.

    Attributes:
        layout: of its tensors.
        head: its first bytes, up to the values.
        positions: of the first value of each tensor.
        size: of the file in bytes.
    """

    layout: Layout
    head: bytes
    positions: dict[str, int]
    size: int


def plan_file(layout: Layout, tensors: Iterable[str]) -> TensorFile:
    """The safetensors file of these fp32 tensors: the length of a JSON header, the header, and the values in order."""
    header: dict[str, object] = {"__metadata__": {"layout": json.dumps(layout)}}
    begins, end = {}, 0
    for name in tensors:
        _, numel, _ = layout[parameter_of(name)]
        begins[name], end = end, end + numel * BYTES
        header[name] = {"dtype": "F32", "shape": [numel], "data_offsets": [begins[name], end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # values are aligned
    head = len(text).to_bytes(8, "little") + text
    return TensorFile(layout, head, {name: len(head) + begin for name, begin in begins.items()}, len(head) + end)


def plan_together(ranks: Sequence[Held]) -> TensorFile | None:
    """The file of several ranks; None if their ranges of a parameter do not adjoin, or not all have its tensors."""
    layout: Layout = {}
    for name in {name: None for rank in ranks for name in rank.layout}:
        ranges = sorted(rank.layout[name] for rank in ranks if name in rank.layout)
        start, position = ranges[0][0], ranges[0][0]
        for begin, numel, shape in ranges:
            if begin != position or shape != ranges[0][2]:
                return None
            position += numel
        layout[name] = (start, position - start, ranges[0][2])
    tensors = {name: None for rank in ranks for name in rank.tensors}
    if any({name for name in tensors if parameter_of(name) in rank.layout} != {*rank.tensors} for rank in ranks):
        return None
    return plan_file(layout, tensors)


def parameter_of(tensor: str) -> str:
    """The parameter of the tensor `<parameter>/<kind>`."""
    return tensor.rpartition("/")[0]


def whole(shapes: Mapping[str, tuple[int, ...]]) -> Layout:
    """The layout of a file that holds complete parameters."""
    return {name: (0, prod(shape), tuple(shape)) for name, shape in shapes.items()}
