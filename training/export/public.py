"""What an export says about its training without naming the machine: names in place of paths and of addresses.

An export is given to others. Home directories, mount points, buckets and hosts are no part of how a model was trained.
"""

import re
from pathlib import PurePosixPath
from typing import Any

from ..checkpoint.manifest import CheckpointManifest

_ELSEWHERE = re.compile(r"/.|~|\.\./|[A-Za-z][A-Za-z0-9+.-]*:/|[A-Za-z]:\\|\\\\")
"""An absolute path, one that leaves the working directory, or a URL."""


def provenance(manifest: CheckpointManifest, average: bool = False) -> dict[str, Any]:
    """The content of training.json: the manifest of the checkpoint, without its files.

    `running_average` is there, and true, if the exported weights are the running average.
    Licenses of sources, which may be URLs, stay as they are.
    """
    content = manifest.model_dump(mode="json", exclude={"files", "parameters", "version"})
    content |= {key: public_tree(content[key]) for key in ("config", "data_address", "initial_weights")}
    return content | ({"running_average": True} if average else {})


def public_name(address: str) -> str:
    """The last part of an absolute path, of a path out of the working directory, or of a URL; other text as it is."""
    if not _ELSEWHERE.match(address):
        return address
    _, scheme, rest = address.replace("\\", "/").rpartition("://")
    path = rest.partition("?")[0].partition("/")[2] if scheme else rest  # a URL's first part is a host or a bucket
    return PurePosixPath(path).name or "-"


def public_tree(value: Any) -> Any:
    """JSON-like values with every text as `public_name` gives it."""
    if isinstance(value, dict):
        return {key: public_tree(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [public_tree(entry) for entry in value]
    return public_name(value) if isinstance(value, str) else value
