"""The attacks of `cmbert privacy`, in order: what each needs, and the section of the report that it gives."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...streaming_data.canaries.identifiers import Canary

if TYPE_CHECKING:
    from ...evaluation.privacy.passages import Sample
    from ...evaluation.privacy.scorer import Scorer
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
        seen: by source, how often the model has read each training pack.
        planted: the lines of all canaries in its data.
        references: models in addition to the untrained one, by name, whose losses are subtracted.
        samples: patients on each side, at most.
        working: directory of results so far.
    """

    model: "Scorer"
    untrained: "Scorer"
    canaries: tuple[Canary, ...]
    planted: tuple[str, ...]
    data: str | None
    manifest: "DataManifest | None"
    sources: tuple[str, ...]
    seen: Mapping[str, Counter[int]]
    references: "Mapping[str, Scorer]"
    samples: int
    seed: int
    working: Path

    @property
    def longest(self) -> int:
        return min(LONGEST, *(one.max_length for one in (self.model, *self.references.values())))

    @property
    def epochs(self) -> float | None:
        """How often the packs of the attacked sources were read, of those that were, on average."""
        counts = [count for name in self.sources for count in self.seen.get(name, {}).values() if count]
        return round(sum(counts) / len(counts), 2) if counts else None

    @cached_property
    def sample(self) -> "Sample":
        """The passages that several attacks share, without planted lines."""
        from ...evaluation.privacy.passages import sample_passages
        from ...evaluation.privacy.planted import canary_cutter

        assert self.data is not None
        assert self.manifest is not None
        stays = canary_cutter(self.planted, self.model.tokenizer) if self.planted else None
        return sample_passages(
            self.data, self.manifest, self.sources, self.samples, self.longest, self.seed, self.seen, stays
        )


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
        {"untrained": subject.untrained, **subject.references},
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


def _on_patients(attack: Callable[[Subject], Any]) -> Attack:
    """An attack that compares trained with held-out patients."""

    def run(subject: Subject) -> Any:
        section = attack(subject)
        return section and section.model_copy(update={"epochs": subject.epochs})

    return Attack(_has_data, run)


ATTACKS = {
    "exposure": Attack(_has_canaries, _exposure),
    "membership": _on_patients(_membership),
    "recovery": _on_patients(_recovery),
    "extraction": _on_patients(_extraction),
}
"""By the name of the section of the report."""
