"""`cmbert data overlap`: whether the texts of a task are in the text that a model was trained on."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...configs.preconditions import Check, check_all
from ...configs.progress import Progress
from ...configs.reporting import suggest
from ..interface.next_steps import settings
from ..interface.options import TaskOverrides, Tasks
from .tasks import load_tasks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.table import Table

    from ...streaming_data.inspection.overlap import Overlap

_SHORTEST = 8
"""Words: shorter texts, such as `Materials and methods`, are in any corpus, so they are counted apart. The minimum of
GPT-3's check (arXiv 2005.14165, appendix C)."""


def overlap(
    address: Annotated[
        str, typer.Argument(metavar="DATA", help="The directory of a data set, or its address in an object store.")
    ],
    task: Tasks,
    overrides: TaskOverrides = [],  # noqa: B006 - typer copies it
    words: Annotated[int, typer.Option(min=1, max=100, help="Words of an n-gram.")] = 13,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: all cores.")] = None,
    out: Annotated[Path, typer.Option(help="File for the result, with the numbers of the texts.")] = Path(
        "overlap.json"
    ),
) -> None:
    """Search the training packs of a data set for the texts of tasks, by word n-grams (contamination).

    Example: cmbert data overlap data/packs --task pubmedqa --set data=pubmedqa

    Case, spaces and punctuation do not matter. Numbers of texts are written, never text.
    """
    evaluations = load_tasks(task, overrides)

    from rich.console import Console

    from ...evaluation.texts import read_texts
    from ...storage.files import atomic_write
    from ...storage.preconditions import check_writable
    from ...streaming_data.inspection.overlap import overlap as search
    from ...streaming_data.parallel import available_cores
    from ...streaming_data.shards.manifest import manifest_hash, read_manifest
    from ...streaming_data.shards.restricted import share_unless_restricted

    address = address.rstrip("/")
    readers = [partial(read_texts, evaluation) for evaluation in evaluations]
    checks: list[Check] = [lambda: check_writable(out), lambda: read_manifest(address), *readers]
    check_all(checks)
    manifest = read_manifest(address)
    texts = {evaluation.name: read() for evaluation, read in zip(evaluations, readers, strict=True)}
    share_unless_restricted(manifest.sources)
    splits = [(name, split, part) for name, of_task in texts.items() for split, part in of_task.items()]
    every = [text for _, _, part in splits for text in part]
    with Progress("searching", unit="ranges", counts="tokens") as progress:
        result = search(address, every, words, workers or available_cores(), progress.update)
    report = _report([(name, split, len(part)) for name, split, part in splits], result)
    content = {"data": address, "manifest": manifest_hash(manifest), "words": words, "shortest": _SHORTEST, **report}
    atomic_write(out, json.dumps(content, indent=1) + "\n")
    Console().print(_table(report["tasks"], words, address))
    typer.echo(f"wrote {out}")
    suggest(["evaluate", "MODEL", *(part for name in task for part in ("--task", name)), *settings(overrides)])


def _report(splits: "Sequence[tuple[str, str, int]]", result: "Overlap") -> dict[str, Any]:
    """The counts of each split, in all sources and in each, and the texts that were found: their number and share."""
    tasks: dict[str, dict[str, Any]] = {}
    first = 0
    for task, split, texts in splits:
        part = slice(first, first := first + texts)
        tasks.setdefault(task, {})[split] = {
            **_count(result.words[part], result.all[part]),
            "sources": {name: _count(result.words[part], shares[part]) for name, shares in result.sources.items()},
            "found": {n: round(share, 4) for n, share in enumerate(result.all[part].tolist(), start=1) if share > 0},
        }
    return {"tasks": tasks}


def _count(words: "npt.NDArray[np.int64]", shares: "npt.NDArray[np.float64]") -> dict[str, int]:
    """The texts of at least eight words, those of them with any n-gram in the data, with more than half and with more
    than four fifths of their n-grams; the shorter texts, and those of them with all their words in sequence.
    """
    long = words >= _SHORTEST
    return {
        "texts": int(long.sum()),
        "any": int((long & (shares > 0)).sum()),
        "over_50": int((long & (shares > 0.5)).sum()),
        "over_80": int((long & (shares > 0.8)).sum()),
        "short": int((~long).sum()),
        "short_found": int((~long & (shares == 1)).sum()),
    }


def _table(tasks: "Mapping[str, Mapping[str, Any]]", words: int, address: str) -> "Table":
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"texts whose {words}-grams of words are in {escape(address)}",
        caption=f"short: texts of fewer than {_SHORTEST} words, found if all of them are there in sequence",
        box=SIMPLE,
        padding=0,
        pad_edge=False,
    )
    table.add_column("task", no_wrap=True)
    table.add_column("split", no_wrap=True)
    for name in ("texts", "any", "> 50 %", "> 80 %", "short", "found"):
        table.add_column(name, justify="right", no_wrap=True)
    for task, splits in tasks.items():
        for split, counts in splits.items():
            shares = (_share(counts[name], counts["texts"]) for name in ("any", "over_50", "over_80"))
            short = (f"{counts[name]:,}" for name in ("short", "short_found"))
            table.add_row(task, split, f"{counts['texts']:,}", *shares, *short)
    return table


def _share(number: int, of: int) -> str:
    return f"{number:,} ({number / of:.1%})" if of else "-"
