"""`cmbert data fetch`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....configs.errors import UserError
from ....configs.preconditions import check_all
from ....configs.progress import Progress
from ....configs.reporting import suggest
from ....configs.spelling import did_you_mean
from ...interface import completion

if TYPE_CHECKING:
    from ....streaming_data.download.publishers import Publisher


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

    from ....storage.preconditions import check_writable
    from ....streaming_data.download.publishers import PMC, PUBLISHERS
    from ....streaming_data.shards.restricted import share_unless_restricted

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
    from ....streaming_data.download.listed import fetch as fetch_files

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
    from ....streaming_data.download import pmc
    from ....streaming_data.download.pmc_articles import COMMERCIAL, Selection, licence_codes

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
