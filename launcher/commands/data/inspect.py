"""`cmbert data inspect`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ....configs.preconditions import Check, check_all, check_packages
from ....configs.reporting import suggest
from ....storage.files import require_writable
from ...interface.next_steps import training_on

_SAMPLE_CHARACTERS = 800
_GROUP_DOCUMENTS = 1_000
"""Per source: the share of documents that name a group is known to 31 per 1,000, in 95 of 100 samples."""


def inspect(
    address: Annotated[str, typer.Argument(help="The directory of a data set, or its address in an object store.")],
    packs: Annotated[int, typer.Option(min=1, help="Packs per split for the statistics of lengths.")] = 1000,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Print a sample of every source, even of patient notes.")
    ] = False,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Directory for plots of the statistics.")] = None,
) -> None:
    """Show statistics of a data set, and a text sample if a source is public or synthetic.

    Example: cmbert data inspect runs/demo/data --plots runs/demo/plots
    """
    from rich.console import Console

    from ....streaming_data.inspection import summary
    from ....streaming_data.inspection.groups import count_groups
    from ....streaming_data.inspection.plots import plot
    from ....streaming_data.inspection.table import data_table, group_table, source_table
    from ....streaming_data.loader.lane_count import describe_shards
    from ....streaming_data.shards.manifest import read_manifest

    address = address.rstrip("/")
    if plots:
        check_all(_plot_checks(plots))
    manifest = read_manifest(address)
    if plots:
        require_writable(plots / "lengths.png")
    console = Console()
    views = list(summary.inspect(address, packs))
    console.print(data_table(address, manifest.seq_length, views), source_table(views))
    if readers := summary.training_readers(address):
        console.print(describe_shards(readers), markup=False)
    console.print(group_table(list(count_groups(address, _GROUP_DOCUMENTS))))
    if plots:
        for path in plot(views, manifest.seq_length, plots):
            typer.echo(f"wrote {path}")
    sources = summary.readable_sources(manifest, show_text)
    for source in sources if show_text else sources[:1]:
        console.rule(f"sample of {source}")
        text = summary.sample_text(address, source)
        console.print(text[:_SAMPLE_CHARACTERS] + (" [...]" if len(text) > _SAMPLE_CHARACTERS else ""), markup=False)
    if not sources:
        console.print("No source is public or synthetic, so no text is shown. Use --show-text to show it.")
    suggest(training_on(address, manifest.tokenizer.vocab_size))


def _plot_checks(plots: Path) -> Iterator[Check]:
    from ....storage.preconditions import check_writable

    yield lambda: check_packages("--plots", "demo", ["matplotlib"])
    yield lambda: check_writable(plots / "lengths.png")
