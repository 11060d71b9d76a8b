"""What an export states about privacy: the terms of its restricted sources, and what was tried on its weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...streaming_data.shards.restricted import restricted_sources

if TYPE_CHECKING:
    from torch import nn

_PHYSIONET = (
    "PhysioNet's credentialed data use agreement: access to the data is not shared with anybody else, online services "
    "included (physionet.org/news/post/llm-responsible-use). Models derived from such data are treated as the data "
    "itself and are shared on PhysioNet under the same agreement (its Guidelines for creating datasets and models from "
    "MIMIC, April 2024)"
)


@dataclass(frozen=True)
class Privacy:
    """What is known about the privacy of an export.

    Attributes:
        section: of the model card.
        files: to be written, by name.
        check: raises UserError for a model that is not the one the section and the files are about.
    """

    section: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    check: "Callable[[nn.Module], None]" = lambda model: None


def terms_of(sources: Mapping[str, object]) -> dict[str, str]:
    """The terms of each restricted source, in words.

    Args:
        sources: by name, with the attributes or keys `public`, `synthetic` and `licence`.
    """
    licences = {name: _licence(sources[name]) for name in restricted_sources(sources)}
    return {
        name: f"{licence}. {_PHYSIONET}" if _is_credentialed(licence) else licence for name, licence in licences.items()
    }


def _licence(source: object) -> str:
    licence = source.get("licence") if isinstance(source, Mapping) else getattr(source, "licence", None)
    return str(licence or "license unknown").strip().rstrip(".")


def _is_credentialed(licence: str) -> bool:
    folded = licence.lower()
    return "physionet" in folded and ("credentialed" in folded or "restricted" in folded)
