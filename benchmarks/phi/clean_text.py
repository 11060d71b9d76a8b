"""Sources of text without identifiers, in which whatever is found is a false alarm."""

from collections.abc import Sequence

from clinical_modernbert.configs.loader.load import load, locate_recipe
from clinical_modernbert.configs.loader.recipes import DATA
from clinical_modernbert.streaming_data.corpora.readers import AnySource
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig


def sources_of(recipe: str | None) -> Sequence[AnySource]:
    """The sources of a data recipe, a file or a name; without a recipe none."""
    return load(PrepareConfig, locate_recipe(recipe, DATA), []).sources if recipe else []
