"""Which sources of a data set, or of a model trained on one, may hold text of patients, and who may read what is made.

Every command and every rank starts with `start_private`: only the owner may read the files that it writes. Where all
sources turn out to be public or synthetic, `share_unless_restricted` restores the umask of the user. So no place that
writes has to think of it, and one that is forgotten writes private files.
"""

import os
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

_PRIVATE = 0o077
_umask = _PRIVATE


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


def every_source(sources: Mapping[str, object], before: Mapping[str, object]) -> dict[str, object]:
    """The sources of a model and those of the model that it continues. Of equal names none hides the other."""
    return {**{f"{name}, before" if name in sources else name: source for name, source in before.items()}, **sources}


def start_private() -> None:
    """Create files with mode 0600 and directories with 0700 from now on."""
    global _umask
    _umask = os.umask(_PRIVATE)


def share_unless_restricted(sources: Mapping[str, object]) -> None:
    """Restore the umask from before `start_private`, unless one of the sources is restricted.

    Args:
        sources: everything from which this process writes something, as in `restricted_sources`.
    """
    if not restricted_sources(sources):
        os.umask(_umask)
