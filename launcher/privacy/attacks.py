"""The attacks of `cmbert privacy`, in order: what each needs, and the section of the report that it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...streaming_data.canaries.identifiers import Canary

if TYPE_CHECKING:
    from ...evaluation.privacy.passages import Sample
    from ...evaluation.privacy.scoring import Scorer
    from ...streaming_data.shards.manifest import DataManifest

MASKINGS = 4
LONGEST = 256
"""Tokens of a passage."""


@dataclass(frozen=True)
class Subject:
    """What is attacked, and with what.

    Attributes:
        canaries: planted in its data; none: exposure is not measured.
        data: address of the data set; None: members and others are not compared.
        sources: those of the data set that are attacked.
        samples: patients on each side, at most.
        working: directory of results so far.
    """

    model: "Scorer"
    untrained: "Scorer"
    canaries: tuple[Canary, ...]
    data: str | None
    manifest: "DataManifest | None"
    sources: tuple[str, ...]
    samples: int
    seed: int
    working: Path

    @property
    def longest(self) -> int:
        return min(LONGEST, self.model.max_length)

    @cached_property
    def sample(self) -> "Sample":
        """The passages that several attacks share."""
        from ...evaluation.privacy.passages import sample_passages

        assert self.data is not None
        assert self.manifest is not None
        return sample_passages(self.data, self.manifest, self.sources, self.samples, self.longest, self.seed)


class Attack(NamedTuple):
    """One attack.

    Attributes:
        needs: whether the attack can be made.
        run: gives its section; None if the data has nothing to attack.
    """

    needs: Callable[[Subject], bool]
    run: Callable[[Subject], Any]


def _exposure(subject: Subject) -> Any:
    from ...evaluation.privacy.exposure import attack_exposure

    return attack_exposure(subject.model, subject.untrained, subject.canaries, subject.working, subject.seed)


def _membership(subject: Subject) -> Any:
    from ...evaluation.privacy.membership import attack_membership
    from ...evaluation.tasks.masked_words import data_vocabulary

    assert subject.manifest is not None
    return attack_membership(
        subject.model,
        {"untrained": subject.untrained},
        subject.sample,
        data_vocabulary(subject.manifest),
        MASKINGS,
        subject.longest,
        subject.seed,
    )


def _recovery(subject: Subject) -> Any:
    from ...evaluation.privacy.recovery import attack_recovery

    assert subject.manifest is not None
    recipe = subject.manifest.config.get("sources") or []
    locales = {source["name"]: source.get("locale") or [] for source in recipe}
    tokenizer = subject.model.tokenizer
    return attack_recovery(
        subject.model, subject.untrained, subject.sample, tokenizer, locales, subject.longest, subject.seed
    )


def _extraction(subject: Subject) -> Any:
    from ...evaluation.privacy.extraction import attack_extraction
    from ...evaluation.privacy.passages import read_held_out

    assert subject.data is not None
    held_out = read_held_out(subject.data, subject.sources, subject.sample, subject.seed)
    mask = subject.model.tokenizer.special_ids["mask"]
    return attack_extraction(
        subject.model, subject.untrained, subject.sample, held_out, mask, subject.longest, subject.seed
    )


def _has_canaries(subject: Subject) -> bool:
    return bool(subject.canaries)


def _has_data(subject: Subject) -> bool:
    return subject.data is not None


ATTACKS = {
    "exposure": Attack(_has_canaries, _exposure),
    "membership": Attack(_has_data, _membership),
    "recovery": Attack(_has_data, _recovery),
    "extraction": Attack(_has_data, _extraction),
}
"""By the name of the section of the report."""
