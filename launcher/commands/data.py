"""`cmbert data`: from corpora to a data set, and a look into one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...configs.errors import UserError
from ...configs.loader.load import load
from ...configs.loader.recipes import find_recipe
from ...storage.files import require_writable
from .options import DataOverrides, DataRecipe

if TYPE_CHECKING:
    from ...streaming_data.prepare.pipeline import Stages
    from ...streaming_data.shards.manifest import DataManifest

app = typer.Typer(help="Prepare data sets and look into them.", no_args_is_help=True)

_SAMPLE_CHARACTERS = 800


@app.command()
def prepare(
    recipe: DataRecipe,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Only tokenise part I (from 0) of N of the files, for a later run without it."
        ),
    ] = None,
    upload_to: Annotated[
        str | None, typer.Option("--upload", metavar="URL", help="Then store it there, as `cmbert data upload` does.")
    ] = None,
    overrides: DataOverrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Read the sources of a recipe and write a data set: tokenised, split, packed, in shards only you may read.

    Example: cmbert data prepare data/demo --set output=runs/mine/data

    Interrupted or killed, the same command goes on, and ends in the same bytes.
    """
    from ...streaming_data.prepare.config import PrepareConfig

    config = load(PrepareConfig, find_recipe(recipe), overrides)  # before what follows costs its seconds

    from ...streaming_data.prepare.pipeline import is_prepared, prepare_share
    from ...streaming_data.prepare.pipeline import prepare as prepare_data
    from ...streaming_data.prepare.tasks import parse_share
    from ...streaming_data.prepare.upload import store_address

    if upload_to is not None:
        upload_to = store_address(upload_to)
    os.umask(0o077)
    if share is not None:
        with _progress() as stages:
            files = prepare_share(config, parse_share(share), stages)
        typer.echo(f"share {share}: {files:,} files are tokenised; `cmbert data prepare` without --share goes on")
        return
    if upload_to is None or not is_prepared(config):
        with _progress() as stages:
            _tell_prepared(prepare_data(config, stages))
    typer.echo(f"data set: {config.output}")
    if upload_to is not None:
        upload(config.output, upload_to)


def _tell_prepared(manifest: "DataManifest") -> None:
    for name, source in manifest.sources.items():
        train, held_out = source.splits["train"], source.splits["held_out"]
        empty = f"{source.empty:,} without text, " if source.empty else ""
        typer.echo(
            f"{name}: {train.documents:,} documents, {train.tokens:,} tokens in {train.packs:,} packs, "
            f"{train.fullness:.2%} full; {held_out.documents:,} documents, {held_out.tokens:,} tokens "
            f"held out; {empty}{source.duplicates + source.near_duplicates:,} duplicates dropped"
        )
        if source.audit and source.audit.flagged:
            typer.echo(
                f"{name}: {source.audit.flagged:,} documents may hold what identifies a patient; see "
                "`cmbert data audit`"
            )
    share = manifest.config["held_out"]
    if share and not any(source.splits["held_out"].documents for source in manifest.sources.values()):
        typer.echo(f"warning: no document was held out, so nothing can be evaluated; raise held_out ({share})")


@contextmanager
def _progress() -> "Iterator[Stages]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[documents]:,} documents")) as bar:

        def stages(stage: str) -> Any:
            task = bar.add_task(stage, total=None, documents=0)

            def report(done: int, total: int, counted: int) -> None:
                bar.update(task, completed=done, total=total, documents=counted)

            return report

        yield stages


@app.command()
def inspect(
    address: Annotated[str, typer.Argument(help="A data set: its directory or its address in an object store.")],
    packs: Annotated[int, typer.Option(min=1, help="Look at this many packs of each split for the lengths.")] = 1000,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Print a sample of every source, patients' notes too.")
    ] = False,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Write pictures of it there.")] = None,
) -> None:
    """Show what a data set holds, and a sample of its text where that is public or synthetic.

    Example: cmbert data inspect runs/demo/data --plots runs/demo/pictures
    """
    from rich.console import Console

    from ...streaming_data.inspection import summary as look
    from ...streaming_data.inspection.plots import plot
    from ...streaming_data.inspection.table import data_table, source_table
    from ...streaming_data.shards.manifest import read_manifest

    address = address.rstrip("/")
    manifest = read_manifest(address)
    if plots:
        require_writable(plots / "lengths.png")
    console = Console()
    views = list(look.inspect(address, packs))
    console.print(data_table(address, manifest.seq_length, views), source_table(views))
    if plots:
        for path in plot(views, manifest.seq_length, plots):
            typer.echo(f"wrote {path}")
    sources = look.readable_sources(manifest, show_text)
    for source in sources if show_text else sources[:1]:
        console.rule(f"a segment of {source}")
        text = look.sample_text(address, source)
        console.print(text[:_SAMPLE_CHARACTERS] + (" [...]" if len(text) > _SAMPLE_CHARACTERS else ""), markup=False)
    if not sources:
        console.print("No source is public or synthetic, so no text is shown; --show-text shows it.")


@app.command()
def upload(
    data: Annotated[Path, typer.Argument(help="A prepared data set.")],
    url: Annotated[str, typer.Argument(help="A new address: s3://bucket/path, gs://bucket/path, az://container/path.")],
    unprotected: Annotated[
        bool, typer.Option("--unprotected", help="Store patients' text where anybody may read it, or unencrypted.")
    ] = False,
) -> None:
    """Store a data set in a bucket, every object confirmed, or go on where an upload was interrupted.

    Example: cmbert data upload runs/demo/data s3://bucket/demo-1
    """
    from ...streaming_data.prepare.upload import upload as store

    store(data, url, unprotected)


@app.command()
def synthesize(
    out: Annotated[Path, typer.Option(help="Directory for discharge.csv and radiology.csv.")],
    notes: Annotated[int, typer.Option(min=1, help="How many notes, of both kinds together.")] = 1500,
    seed: Annotated[int, typer.Option(help="Another seed, other notes.")] = 0,
) -> None:
    """Write made-up notes in MIMIC-IV-Note's columns, each marked as synthetic.

    Example: cmbert data synthesize --out runs/demo/notes
    """
    from ...streaming_data.synthetic.notes import write

    for path in write(out, notes, seed):
        typer.echo(f"wrote {path}")


@app.command()
def audit(
    recipe: DataRecipe,
    positions: Annotated[Path | None, typer.Option(help="A CSV file to write: where each finding stands.")] = None,
    overrides: DataOverrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Count what has the form of a patient's identifier in a recipe's sources: dates, names, numbers, addresses.

    Example: cmbert data audit mine.yaml --positions findings.csv

    Kinds, counts and places are reported, never the text. A clean report is no proof of de-identification.
    """
    from ...streaming_data.phi.audit import audit_sources
    from ...streaming_data.prepare.config import PrepareConfig

    config = load(PrepareConfig, find_recipe(recipe), overrides)
    os.umask(0o077)
    with _progress() as stages:
        audits = audit_sources(config.sources, positions, stages("auditing"), config.workers)
    for name, found in audits.items():
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(found.kinds.items())) or "nothing found"
        typer.echo(f"{name}: {found.flagged:,} of {found.documents:,} documents: {kinds}")
    if positions:
        typer.echo(f"wrote {positions}")


@app.command()
def fetch(
    corpus: Annotated[str, typer.Argument(help="pubmed, pmc, icd10cm, hcpcs or gem (crosswalks).")],
    out: Annotated[Path, typer.Option(help="Directory for the files.")],
    index: Annotated[
        list[str], typer.Option(metavar="URL", help="Another page that lists the files, such as a mirror's.")
    ] = [],  # noqa: B006 - typer copies it
) -> None:
    """Download a public corpus: listed, verified by its checksums, and resumed where it stopped.

    Example: cmbert data fetch pubmed --out corpora/pubmed

    PubMed comes from NLM, whose terms apply; MIMIC-IV-Note needs a credentialed account at PhysioNet.
    """
    from dataclasses import replace

    from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from ...streaming_data.download.publishers import COLLECTIONS
    from ...streaming_data.download.publishers import fetch as fetch_files

    if corpus not in COLLECTIONS:
        raise UserError(f"{corpus}: no such corpus; expected {', '.join(COLLECTIONS)}")
    collection = replace(COLLECTIONS[corpus], indexes=tuple(index)) if index else COLLECTIONS[corpus]
    with Progress(TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn()) as bar:
        task = bar.add_task("listing", total=None)

        def report(done: int, total: int, counted: int) -> None:
            bar.update(task, description=f"{done:,} of {total:,} files", completed=counted)

        paths = fetch_files(collection, out, report)
    typer.echo(f"{len(paths):,} files in {out}")
