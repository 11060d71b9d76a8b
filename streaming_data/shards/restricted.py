"""Which sources of a data set, or of a model trained on one, may hold text of patients."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class _Terms(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    public: bool | None = None
    synthetic: bool | None = None


def restricted_sources(sources: Mapping[str, object]) -> list[str]:
    """The names of the sources that are neither public nor synthetic, or of which that is unknown.

    Args:
        sources: by name, anything with the attributes or keys `public` and `synthetic`: entries of the manifest of a
            data set or of a checkpoint, or sources of a recipe.
    """
    terms = {name: _Terms.model_validate(source) for name, source in sources.items()}
    return [name for name, source in terms.items() if not source.public and not source.synthetic]
