"""Tables of data-set statistics for the terminal."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from .groups import GROUPS

if TYPE_CHECKING:
    from .groups import GroupCounts
    from .summary import SplitView

_LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)
_BAR = " ▁▂▃▄▅▆▇█"


def data_table(address: str, seq_length: int, views: "Iterable[SplitView]") -> Table:
    """One row per split of each source."""
    edges = [edge for edge in _LENGTHS if edge < seq_length]
    caption = f"lengths: share of tokens in segments of up to {', '.join(map(str, edges))} and {seq_length}"
    title = f"{escape(address)}: packs of {seq_length:,} tokens"
    table = Table(title=title, caption=caption, box=SIMPLE, padding=0, pad_edge=False)
    table.add_column("source/split", no_wrap=True)
    for name in ("documents", "segments", "tokens", "packs", "full", "median", "longest"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("lengths", no_wrap=True)
    for view in views:
        counts, lengths = view.counts, sorted(view.lengths.tolist())
        sizes = (counts.documents, counts.segments, counts.tokens, counts.packs)
        table.add_row(
            f"{view.source}/{view.split}",
            *map(_short, sizes),
            f"{counts.fullness:.2%}",
            *map(_short, (lengths[len(lengths) // 2], lengths[-1])),
            _histogram(lengths, edges),
        )
    return table


def source_table(views: "Iterable[SplitView]") -> Table:
    """One row per source: tokens per word, and the share of duplicates."""
    table = Table(box=SIMPLE, padding=0, pad_edge=False)
    table.add_column("source", no_wrap=True)
    for name in ("tokens per word", "duplicates dropped"):
        table.add_column(name, justify="right")
    for view in views:
        if view.split == "train":
            fertility = "-" if view.fertility is None else f"{view.fertility:.3f}"
            table.add_row(view.source, fertility, f"{view.dropped:.2%} of the documents")
    return table


def group_table(counts: "Sequence[GroupCounts]") -> Table:
    """One row per group of patients: documents per 1,000 that name it, by source."""
    title = "documents per 1,000 that name a group of patients, in English words"
    table = Table(title=title, box=SIMPLE, padding=0, pad_edge=False)
    table.add_column("group", no_wrap=True)
    for one in counts:
        table.add_column(f"{escape(one.source)} (of {_short(one.documents)})", justify="right")
    for number, (attribute, group) in enumerate(GROUPS):
        shares = (f"{1000 * one.named[number] / max(1, one.documents):.0f}" for one in counts)
        table.add_row(f"{attribute}: {group}", *shares)
    return table


def _short(number: int) -> str:
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= max(unit, 100_000):
            return f"{number / unit:.3g}{name}"
    return f"{number:,}"


def _histogram(lengths: list[int], edges: list[int]) -> str:
    """One bar per range of lengths; its height is the share of the tokens."""
    totals = [0] * (len(edges) + 1)
    for length in lengths:
        totals[sum(length > edge for edge in edges)] += length
    return "".join(_BAR[-(-total * (len(_BAR) - 1) // max(totals))] for total in totals)
