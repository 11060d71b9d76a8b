"""`cmbert data`: prepare data sets from corpora, and inspect, audit and upload them."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import UserError
from ...configs.loader.load import load, locate_recipe
from ...configs.loader.recipes import DATA
from ...configs.preconditions import Check, check_all, check_packages
from ...configs.progress import Progress
from ...configs.reporting import suggest
from ...configs.spelling import did_you_mean
from ...storage.files import require_writable
from ..interface import completion
from ..interface.next_steps import settings, training_on
from ..interface.options import DataOverrides, DataRecipe
from ..interface.suggestions import SuggestingGroup

if TYPE_CHECKING:
    from ...streaming_data.download.publishers import Publisher
    from ...streaming_data.parallel import ProgressCallback
    from ...streaming_data.prepare.config import PrepareConfig
    from ...streaming_data.prepare.pipeline import StageCallbacks
    from ...streaming_data.shards.manifest import DataManifest

app = typer.Typer(cls=SuggestingGroup, help="Prepare and inspect data sets.", no_args_is_help=True)

_SAMPLE_CHARACTERS = 800
logger = logging.getLogger(__name__)


@app.command()
def prepare(
    recipe: DataRecipe,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Only tokenize part I (from 0) of N of the text, for a later run without --share."
        ),
    ] = None,
    upload_to: Annotated[
        str | None,
        typer.Option("--upload", metavar="URL", help="Then upload it there, like `cmbert data upload`."),
    ] = None,
    overrides: DataOverrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Prepare a data set: read, split, tokenize and pack the sources of a recipe into shards that only you can read.

    Example: cmbert data prepare data/demo --set output=runs/mine/data

    After an interruption, the same command continues and produces the same bytes.
    """
    from ...streaming_data.prepare.config import PrepareConfig

    config = load(PrepareConfig, locate_recipe(recipe, DATA), overrides)  # report errors before the slow imports

    from ...streaming_data.prepare.pipeline import is_prepared, prepare_share
    from ...streaming_data.prepare.pipeline import prepare as prepare_data
    from ...streaming_data.prepare.tasks import parse_share
    from ...streaming_data.prepare.upload import store_address

    if upload_to is not None:
        upload_to = store_address(upload_to)
        _check_client(upload_to)
    if upload_to is None or not is_prepared(config):
        check_all(_prepare_checks(config, share))
    if share is not None:
        with _progress() as stages:
            tasks = prepare_share(config, parse_share(share), stages)
        typer.echo(f"share {share}: {tasks:,} tasks are done; continue with `cmbert data prepare` without --share")
        suggest(["data", "prepare", recipe, *settings(overrides)])
        return
    if upload_to is None or not is_prepared(config):
        with _progress() as stages:
            _print_summary(prepare_data(config, stages))
    typer.echo(f"data set: {config.output}")
    if upload_to is not None:
        upload(config.output, upload_to)
    else:
        _suggest_use(config.output, str(config.output))


def _suggest_use(data: Path, address: str) -> None:
    """Suggest what to do with a data set that is also at `address`."""
    from ...streaming_data.shards.manifest import read_manifest

    suggest(["data", "inspect", address], training_on(address, read_manifest(str(data)).tokenizer.vocab_size))


def _prepare_checks(config: "PrepareConfig", share: str | None) -> "Iterator[Check]":
    """Everything that preparation needs. None of it reads more than the first record of a file."""
    from ...storage.preconditions import check_writable
    from ...streaming_data.prepare.inputs import check_space, source_checks
    from ...streaming_data.prepare.pipeline import require_new
    from ...streaming_data.prepare.tasks import parse_share
    from ...streaming_data.tokenizer import tokenizer as tokenizers

    if share is not None:
        yield lambda: parse_share(share)
    yield lambda: require_new(config.output)
    yield lambda: check_writable(config.output)
    yield lambda: tokenizers.load(config.tokenizer)
    yield from source_checks(config.sources)
    yield lambda: check_space(config)


def _check_client(url: str) -> None:
    """Check that the client of an object store is installed; that of S3 always is."""
    if url.partition("://")[0] != "s3":
        check_packages(url, "clouds")


def _print_summary(manifest: "DataManifest") -> None:
    for name, source in manifest.sources.items():
        train, held_out = source.splits["train"], source.splits["held_out"]
        empty = f"{source.empty:,} without text, " if source.empty else ""
        typer.echo(
            f"{name}: {train.documents:,} documents, {train.tokens:,} tokens in {train.packs:,} packs, "
            f"{train.fullness:.2%} full; {held_out.documents:,} documents, {held_out.tokens:,} tokens "
            f"held out; {empty}{source.duplicates + source.near_duplicates:,} duplicates dropped"
        )
        if (words := source.words) and words.words:
            typer.echo(
                f"{name}: {1000 * words.words / words.characters:,.0f} words per 1,000 characters, "
                f"{words.tokens / words.words:.2f} tokens per word"
            )
        if source.left_out:
            kinds = ", ".join(
                f"{kind} ({counts.elements:,} elements, {counts.characters:,} characters)"
                for kind, counts in source.left_out.items()
            )
            typer.echo(f"{name}: left out: {kinds}")
        if source.audit and source.audit.flagged:
            typer.echo(
                f"{name}: {source.audit.flagged:,} documents may contain patient identifiers; see `cmbert data audit`"
            )
    share = manifest.config["held_out"]
    if share and not any(source.splits["held_out"].documents for source in manifest.sources.values()):
        logger.warning("no document was held out, so validation is impossible; increase held_out (%s)", share)


@contextmanager
def _progress() -> "Iterator[StageCallbacks]":
    """Yields a function that begins a stage and returns the callback for its progress."""
    with ExitStack() as stage_progress:

        def stages(stage: str) -> "ProgressCallback":
            stage_progress.close()
            return stage_progress.enter_context(Progress(stage, unit="tasks", counts="documents")).update

        yield stages


@app.command()
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

    from ...streaming_data.inspection import summary
    from ...streaming_data.inspection.plots import plot
    from ...streaming_data.inspection.table import data_table, source_table
    from ...streaming_data.shards.manifest import read_manifest

    address = address.rstrip("/")
    if plots:
        check_all(_plot_checks(plots))
    manifest = read_manifest(address)
    if plots:
        require_writable(plots / "lengths.png")
    console = Console()
    views = list(summary.inspect(address, packs))
    console.print(data_table(address, manifest.seq_length, views), source_table(views))
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


def _plot_checks(plots: Path) -> "Iterator[Check]":
    from ...storage.preconditions import check_writable

    yield lambda: check_packages("--plots", "demo", ["matplotlib"])
    yield lambda: check_writable(plots / "lengths.png")


@app.command()
def upload(
    data: Annotated[Path, typer.Argument(help="A prepared data set.")],
    url: Annotated[str, typer.Argument(help="A new address: s3://bucket/path, gs://bucket/path, az://container/path.")],
    unprotected: Annotated[
        bool, typer.Option("--unprotected", help="Allow patient text in a public or unencrypted bucket.")
    ] = False,
) -> None:
    """Upload a data set to a bucket and verify every object; continue an interrupted upload.

    Example: cmbert data upload runs/demo/data s3://bucket/demo-1
    """
    from ...streaming_data.prepare.upload import store_address
    from ...streaming_data.prepare.upload import upload as store
    from ...streaming_data.shards.manifest import read_manifest

    check_all([lambda: _check_client(store_address(url)), lambda: read_manifest(str(data))])
    store(data, url, unprotected)
    _suggest_use(data, url.rstrip("/"))


@app.command()
def synthesize(
    out: Annotated[Path, typer.Option(help="Directory for discharge.csv and radiology.csv.")],
    notes: Annotated[int, typer.Option(min=1, help="Total number of notes of both kinds.")] = 1500,
    seed: Annotated[int, typer.Option(help="Random seed of the notes.")] = 0,
) -> None:
    """Generate synthetic notes with the columns of MIMIC-IV-Note, each marked as synthetic.

    Example: cmbert data synthesize --out runs/demo/notes
    """
    from ...streaming_data.shards.restricted import share_unless_restricted
    from ...streaming_data.synthetic.notes import write

    share_unless_restricted({})
    paths = write(out, notes, seed)
    for path in paths:
        typer.echo(f"wrote {path}")
    # The source of notes in the recipe of the demo.
    sources = f"sources.2.paths=[{', '.join(map(str, paths))}]"
    suggest(["tokenizer", "train", "data/demo", "--vocab-size", "4096", "--set", sources])


@app.command()
def audit(
    recipe: DataRecipe,
    positions: Annotated[Path | None, typer.Option(help="CSV file to write: the position of each finding.")] = None,
    locale: Annotated[
        list[str],
        typer.Option(metavar="LOCALE", help="Language and country of the texts, such as de_AT; repeatable."),
    ] = [],  # noqa: B006 - typer copies it
    overrides: DataOverrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Count possible patient identifiers in the sources of a recipe: dates, names, numbers, addresses.

    Example: cmbert data audit mine.yaml --positions findings.csv

    Kinds, counts and positions are reported, never the text. An empty report does not prove de-identification.
    --locale adds to the `locale` of each source, whose forms of dates, phone numbers and postcodes are searched too.
    """
    from ...streaming_data.phi.audit import audit_sources, unpacked
    from ...streaming_data.prepare.config import PrepareConfig

    config = load(PrepareConfig, locate_recipe(recipe, DATA), overrides)

    from ...storage.preconditions import check_writable
    from ...streaming_data.locales.locale import LOCALES
    from ...streaming_data.prepare.inputs import source_checks

    def check_locales() -> None:
        for name in locale:
            if name not in LOCALES:
                raise UserError(
                    f"--locale {name}: unknown{did_you_mean(name, LOCALES)} (locales: {', '.join(LOCALES)})"
                )

    writable = [lambda: check_writable(positions)] if positions else []
    check_all([check_locales, *writable, *source_checks(config.sources)])
    sources = [source.model_copy(update={"locale": [*source.locale, *locale]}) for source in config.sources]
    with _progress() as stages:
        audits = audit_sources(sources, positions, stages, config.workers, unpacked(config.output))
    for name, result in audits.items():
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(result.kinds.items())) or "nothing found"
        typer.echo(f"{name}: {result.flagged:,} of {result.documents:,} documents: {kinds}")
    if positions:
        typer.echo(f"wrote {positions}")
    suggest(["data", "prepare", recipe, *settings(overrides)])


@app.command()
def fetch(
    corpus: Annotated[
        str,
        typer.Argument(
            help="pubmed, pmc, icd10cm, icd10pcs, hcpcs, mesh, mesh_descriptors, hpo or gem (crosswalks).",
            autocompletion=completion.corpora,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the files.")],
    index: Annotated[
        list[str],
        typer.Option(
            metavar="URL",
            help="Page that lists the files, such as a mirror, or a file; repeatable. pmc: a bucket or a directory.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    licence: Annotated[
        list[str],
        typer.Option(
            metavar="CODE",
            help="pmc: a licence of the articles, such as 'CC BY-NC', or any; repeatable. Default: all that allow "
            "commercial use.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    retracted: Annotated[bool, typer.Option("--retracted", help="pmc: include retracted articles.")] = False,
    scanned: Annotated[bool, typer.Option("--scanned", help="pmc: include text recognized from old scans.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="pmc: stop at about this many articles, the newest ones.")
    ] = None,
    connections: Annotated[int, typer.Option(min=1, max=1000, help="pmc: requests at a time.")] = 64,
) -> None:
    """Download a public corpus, verify its checksums, and resume interrupted downloads.

    Example: cmbert data fetch pubmed --out corpora/pubmed

    PubMed is subject to the terms of NLM. MIMIC-IV-Note requires a credentialed account at PhysioNet.
    """
    from dataclasses import replace

    from ...storage.preconditions import check_writable
    from ...streaming_data.download.publishers import PMC, PUBLISHERS
    from ...streaming_data.shards.restricted import share_unless_restricted

    def check_corpus() -> None:
        if corpus not in PUBLISHERS:
            raise UserError(
                f"{corpus}: unknown corpus{did_you_mean(corpus, PUBLISHERS)} (corpora: {', '.join(PUBLISHERS)})"
            )

    def check_options() -> None:
        given = {"--licence": licence, "--retracted": retracted, "--scanned": scanned, "--limit": limit}
        if corpus != PMC and (unused := [name for name, value in given.items() if value]):
            raise UserError(f"{', '.join(unused)}: only for {PMC}, whose articles have their own licences")
        if corpus == PMC and len(index) > 1:
            raise UserError(f"--index: {len(index)} addresses; expected one bucket or mirror of {PMC}")

    check_all([check_corpus, check_options, lambda: check_writable(out / "files")])
    publisher = PUBLISHERS[corpus]
    if index:
        publisher = replace(publisher, addresses=tuple(index), checked="")
    share_unless_restricted({})  # a corpus that anyone can download
    if corpus == PMC:
        _fetch_pmc(publisher, out, licence, retracted, scanned, limit, connections)
    else:
        _fetch_listed(publisher, out)
    suggest(["config", "show", "data/clinical"])


def _fetch_listed(publisher: "Publisher", out: Path) -> None:
    from ...streaming_data.download.listed import fetch as fetch_files

    with Progress("downloading", counts="B") as progress:
        paths = fetch_files(publisher, out, progress.update)
    typer.echo(f"{len(paths):,} files in {out}")


def _fetch_pmc(
    publisher: "Publisher",
    out: Path,
    licences: list[str],
    retracted: bool,
    scanned: bool,
    limit: int | None,
    connections: int,
) -> None:
    from ...streaming_data.download import pmc
    from ...streaming_data.download.pmc_articles import COMMERCIAL, Selection, licence_codes

    selection = Selection(
        licences=licence_codes(licences) if licences else COMMERCIAL, retracted=retracted, scanned=scanned
    )
    with Progress("downloading", unit="articles", counts="B") as progress:
        result = pmc.fetch(
            publisher.addresses[0],
            out,
            selection,
            progress.update,
            advice=publisher.advice,
            connections=connections,
            limit=limit,
        )
    typer.echo(f"{result.kept:,} articles in {len(result.packages):,} packages in {out}")
    for reason, count in result.left_out.most_common():
        typer.echo(f"left out: {count:,} {reason}")
    result.require_complete()
