"""The names that checkpoints and their files have, here and in an object store.

A name that comes from a store or from a manifest becomes a part of a path only if it has exactly such a form.
"""

import re
import secrets
from datetime import datetime, timezone
from typing import NamedTuple

# Earlier versions wrote a file per rank; so do ranks today whose ranges of a parameter do not adjoin.
_FILE = re.compile(r"(node|rank)[0-9]{5,9}-of-[0-9]{5,9}\.safetensors")
# A time and a random part; an attempt's number in earlier versions.
_STORED = re.compile(r"step(?P<step>[0-9]{8,12})\.(?P<attempt>[0-9]{8}T[0-9]{6}-[0-9a-f]{6}|[0-9]{5})")


class StoredName(NamedTuple):
    """The name of a checkpoint in a store. They are ordered by step, then by the time of their attempt."""

    step: int
    attempt: str

    def __str__(self) -> str:
        return f"step{self.step:08d}.{self.attempt}"


def parse_stored_name(name: str) -> StoredName | None:
    """The name of a stored checkpoint; None if it has not exactly the form that `str` gives."""
    match = _STORED.fullmatch(name)
    parsed = StoredName(int(match["step"]), match["attempt"]) if match else None
    return parsed if str(parsed) == name else None


def node_file(node: int, nodes: int) -> str:
    """The name of a node's file in a checkpoint."""
    return f"node{node:05d}-of-{nodes:05d}.safetensors"


def rank_file(rank: int, world_size: int) -> str:
    """The name of the file of one rank in a checkpoint."""
    return f"rank{rank:05d}-of-{world_size:05d}.safetensors"


def is_tensor_file(name: str) -> bool:
    """Whether a file of a checkpoint that holds tensors may have this name."""
    return _FILE.fullmatch(name) is not None


def new_attempt_name() -> str:
    """A name in the store that no other attempt has: a new disk counts attempts from 1 again."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
