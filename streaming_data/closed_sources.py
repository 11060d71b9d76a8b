"""Which sources of a data set may hold text of patients."""

from collections.abc import Mapping
from typing import Any


def closed_sources(manifest: Mapping[str, Any]) -> list[str]:
    """The names of those that are neither public nor synthetic."""
    sources = manifest["sources"].items()
    return [name for name, entry in sources if not entry.get("public") and not entry.get("synthetic")]
