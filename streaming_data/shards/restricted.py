"""Which sources of a data set, or of a model trained on one, may hold text of patients."""

from collections.abc import Mapping
from typing import Any


def closed_sources(manifest: Mapping[str, Any]) -> list[str]:
    """The names of those in a manifest that are neither public nor synthetic, or of which that is unknown."""
    sources = manifest["sources"].items()
    return [name for name, entry in sources if not entry.get("public") and not entry.get("synthetic")]
