"""`cmbert data audit`."""

from pathlib import Path
from typing import Annotated

import typer

from ....configs.errors import UserError
from ....configs.loader.load import load, locate_recipe
from ....configs.loader.recipes import DATA
from ....configs.preconditions import check_all
from ....configs.reporting import suggest
from ....configs.spelling import did_you_mean
from ...interface.next_steps import settings
from ...interface.options import DataOverrides, DataRecipe
from .stages import stages_of_progress


def audit(
    recipe: DataRecipe,
    positions: Annotated[Path | None, typer.Option(help="CSV file to write: the position of each finding.")] = None,
    locale: Annotated[
        list[str],
        typer.Option(metavar="LOCALE", help="Language and country of the texts, such as de_AT; repeatable."),
    ] = [],  # noqa: B006 - typer copies it
    names: Annotated[
        bool,
        typer.Option(
            "--names/--no-names", help="Search names without a title or label, too; more than half of the time."
        ),
    ] = True,
    overrides: DataOverrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Count possible patient identifiers in the sources of a recipe: dates, names, numbers, addresses.

    Example: cmbert data audit mine.yaml --positions findings.csv

    Kinds, counts and positions are reported, never the text. An empty report does not prove de-identification.
    A source whose `clean` lists `deidentify` is searched after that step, for what is left.
    --locale adds to the `locale` of each source, whose forms of dates, phone numbers and postcodes are searched too.
    """
    from ....streaming_data.inspection.audit import audit_sources, unpacked
    from ....streaming_data.prepare.config import PrepareConfig

    config = load(PrepareConfig, locate_recipe(recipe, DATA), overrides)

    from ....storage.preconditions import check_writable
    from ....streaming_data.locales.locale import LOCALES
    from ....streaming_data.prepare.inputs import source_checks

    def check_locales() -> None:
        for name in locale:
            if name not in LOCALES:
                raise UserError(
                    f"--locale {name}: unknown{did_you_mean(name, LOCALES)} (locales: {', '.join(LOCALES)})"
                )

    writable = [lambda: check_writable(positions)] if positions else []
    check_all([check_locales, *writable, *source_checks(config.sources)])
    sources = [
        source.model_copy(update={"locale": [*source.locale, *locale], "find_names": names and source.find_names})
        for source in config.sources
    ]
    deidentified = [source.name for source in config.sources if "deidentify" in source.clean]
    with stages_of_progress() as stages:
        audits = audit_sources(sources, positions, stages, config.workers, unpacked(config.output))
    for name, result in audits.items():
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(result.kinds.items())) or "nothing found"
        after = ", de-identified" if name in deidentified else ""
        typer.echo(f"{name}{after}: {result.flagged:,} of {result.documents:,} documents: {kinds}")
    if positions:
        typer.echo(f"wrote {positions}")
    suggest(["data", "prepare", recipe, *settings(overrides)])
