"""`cmbert data prepare`."""

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from ....configs.errors import UserError
from ....configs.loader.load import load, locate_recipe
from ....configs.loader.recipes import DATA
from ....configs.preconditions import Check, check_all, check_packages
from ....configs.reporting import suggest
from ...interface.next_steps import settings
from ...interface.options import DataOverrides, DataRecipe
from .stages import stages_of_progress
from .upload import check_client, suggest_use, upload

if TYPE_CHECKING:
    from ....streaming_data.prepare.config import PrepareConfig
    from ....streaming_data.shards.manifest import DataManifest

logger = logging.getLogger(__name__)


def prepare(
    recipe: DataRecipe,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Only tokenize part I (from 0) of N of the text, for a later run without --share."
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Read and tokenize on the workers of this Dask cluster: its scheduler's address, or scheduler file.",
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
    from ....streaming_data.prepare.config import PrepareConfig

    config = load(PrepareConfig, locate_recipe(recipe, DATA), overrides)  # report errors before the slow imports

    from ....streaming_data.canaries.file import canary_file
    from ....streaming_data.dask_map import connect
    from ....streaming_data.prepare.pipeline import is_prepared, prepare_share
    from ....streaming_data.prepare.pipeline import prepare as prepare_data
    from ....streaming_data.prepare.tasks import parse_share
    from ....streaming_data.prepare.upload import store_address

    if upload_to is not None:
        upload_to = store_address(upload_to)
        check_client(upload_to)
    if upload_to is None or not is_prepared(config):
        check_all(_prepare_checks(config, share, dask))
    if share is not None:
        with stages_of_progress() as stages:
            tasks = prepare_share(config, parse_share(share), stages)
        typer.echo(f"share {share}: {tasks:,} tasks are done; continue with `cmbert data prepare` without --share")
        suggest(["data", "prepare", recipe, *settings(overrides)])
        return
    if upload_to is None or not is_prepared(config):
        with stages_of_progress() as stages, connect(dask) if dask else nullcontext() as client:
            _print_summary(prepare_data(config, stages, client))
    typer.echo(f"data set: {config.output}")
    if config.privacy:
        typer.echo(f"canaries: {canary_file(config.output)} (keep it: `cmbert privacy` needs it; never upload it)")
    if upload_to is not None:
        upload(config.output, upload_to)
    else:
        suggest_use(config.output, str(config.output))


def _prepare_checks(config: "PrepareConfig", share: str | None, dask: str | None) -> "Iterator[Check]":
    """Everything that preparation needs. None of it reads more than the first record of a file."""
    from ....storage.preconditions import check_writable
    from ....streaming_data.prepare.inputs import check_space, source_checks
    from ....streaming_data.prepare.pipeline import require_new, require_own_canaries
    from ....streaming_data.prepare.tasks import parse_share
    from ....streaming_data.tokenizer import tokenizer as tokenizers

    if share is not None:
        yield lambda: parse_share(share)
    if dask is not None:
        yield lambda: check_packages("--dask", "dask")
        yield lambda: _require_one_division(share)
    yield lambda: require_new(config.output)
    yield lambda: require_own_canaries(config)
    yield lambda: check_writable(config.output)
    yield lambda: tokenizers.load(config.tokenizer)
    yield from source_checks(config.sources)
    yield lambda: check_space(config)


def _require_one_division(share: str | None) -> None:
    if share is not None:
        raise UserError("--share and --dask: each divides the work in its own way; choose one")


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
        if result := source.deidentified:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in result.kinds.items()) or "nothing found"
            typer.echo(
                f"{name}: replaced by {result.replaced_by}s in {source.cleaned['deidentify']:,} documents: {kinds}"
            )
        if source.audit and source.audit.flagged:
            typer.echo(
                f"{name}: {source.audit.flagged:,} documents may contain patient identifiers; see `cmbert data audit`"
            )
    share = manifest.config["held_out"]
    if share and not any(source.splits["held_out"].documents for source in manifest.sources.values()):
        logger.warning("no document was held out, so validation is impossible; increase held_out (%s)", share)
