"""Whose document is whose: packs name documents, not patients, and intervals need patients.

A split was assigned by a hash of the patient (`documents/document.py`), so a rule that derives the patient from a
document's id can be checked: every document must then be in the split of its patient, which would not happen by chance.
MIMIC's note ids begin with the patient; a table may have one record per patient. Where no rule holds, the files of the
recipe are read again. Their texts are dropped at once, and no identifier leaves this module: a patient is a number from
0.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from ...configs.errors import UserError
from ...streaming_data.corpora.readers import AnySource, read
from ...streaming_data.documents.document import uniform_hash
from ...streaming_data.shards.manifest import DataManifest

Key = tuple[str, str]
"""A source and the id of one of its documents."""

FORMATS = ("mimic_notes", "table")
"""Of sources whose split is that of a patient."""
_RULES: tuple[Callable[[str], str], ...] = (lambda name: name.partition("-")[0], lambda name: name)
_DOUBT = 1e-6
_SOURCE: TypeAdapter[AnySource] = TypeAdapter(AnySource)
logger = logging.getLogger(__name__)


class Patients(NamedTuple):
    """The patient of each document, as a number from 0; `known` is False if each document counts as a patient."""

    numbers: dict[Key, int]
    known: bool


def patient_sources(manifest: DataManifest) -> list[str]:
    """The sources with texts of patients, in the order of the data set.

    Raises:
        UserError: there are none.
    """
    named = [name for name, entry in manifest.sources.items() if entry.format in FORMATS]
    if not named:
        raise UserError(
            f"the data set has no source with texts of patients (formats {', '.join(FORMATS)}), but only "
            f"{', '.join(manifest.sources)}; name sources to attack with --source"
        )
    return named


def number_patients(manifest: DataManifest, documents: Mapping[Key, bool]) -> Patients:
    """The patients of documents, given whether each was held out.

    A patient with documents in several sources is one patient.
    """
    names: dict[Key, str] = {}
    for source in dict.fromkeys(source for source, _ in documents):
        held_out = {name: held for (of, name), held in documents.items() if of == source}
        found = _patients_of(manifest, source, held_out)
        if found is None:
            logger.warning(
                f"{source}: which documents belong to one patient is not known, because neither their ids nor the "
                "files of the recipe say it; each document counts as a patient, so intervals are too narrow: run the "
                "command where the recipe's files are"
            )
            return Patients({key: number for number, key in enumerate(documents)}, known=False)
        names |= {(source, name): patient for name, patient in found.items()}
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names[key] for key in documents))}
    return Patients({key: numbers[names[key]] for key in documents}, known=True)


def _patients_of(manifest: DataManifest, source: str, held_out: Mapping[str, bool]) -> dict[str, str] | None:
    """The value of `split_by` of each document of a source; None if nothing says it."""
    share, seed = manifest.config.get("held_out"), manifest.config.get("seed")
    if not isinstance(share, float | int) or not isinstance(seed, int):
        return None
    for rule in _RULES:
        patients = {name: rule(name) for name in held_out}
        if _fits(patients, held_out, share, seed) and _chance(patients, held_out, share) < _DOUBT:
            return patients
    patients = _read_patients(manifest, source, held_out)
    return patients if _fits(patients, held_out, share, seed) else None


def _fits(patients: Mapping[str, str], held_out: Mapping[str, bool], share: float, seed: int) -> bool:
    """Whether every document is in the split of its patient."""
    return all(
        name in patients and (uniform_hash("held_out", str(seed), patients[name]) < share) == held
        for name, held in held_out.items()
    )


def _chance(patients: Mapping[str, str], held_out: Mapping[str, bool], share: float) -> float:
    """The probability that wrong patients fit: that as many random numbers fall on these sides of the share."""
    sides = {patients[name]: held for name, held in held_out.items()}
    return math.prod(share if held else 1 - share for held in sides.values())


def _read_patients(manifest: DataManifest, source: str, wanted: Iterable[str]) -> dict[str, str]:
    """The patients of these documents by the files of the recipe, as far as those are there."""
    entries = manifest.config.get("sources")
    described = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    missing, found = set(wanted), dict[str, str]()
    try:
        for recipe in (_SOURCE.validate_python(entry) for entry in described if entry.get("name") == source):
            for document in read(recipe):
                if document.id in missing:
                    found[document.id] = document.meta[recipe.split_by]
                    missing.discard(document.id)
                    if not missing:
                        break
    except (UserError, ValidationError, OSError, KeyError) as error:
        logger.info(f"{source}: the files of the recipe cannot be read ({type(error).__name__})")
    return found
