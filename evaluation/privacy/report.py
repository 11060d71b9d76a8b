"""The privacy report of one checkpoint, `privacy.json`: what was tried on its weights, how, and what was found.

Each attack has its own section, absent if it was not tried. A section has counts and scores only, no text of documents
and no canary. Reading a report imports no torch.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, TypeAdapter

from ...configs.errors import UserError
from ...configs.json_text import Timestamp, read_json
from ...storage.files import atomic_write, require_writable

FILE = "privacy.json"
VERSION: Literal[1] = 1


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True)


class Estimate(_Section):
    """A value with its interval of 95 %."""

    value: float
    low: float
    high: float


class ExposureLevel(_Section):
    """The canaries that were planted the same number of times.

    Attributes:
        repeats: training patients in one document of whom a canary was planted; 0: the control.
        kept: training documents of the data set that hold a canary, on average: duplicates may have been dropped.
        canaries: at this level.
        exposure: mean, in bits, by `exposure`'s stronger attack: tokens masked one at a time.
        screened: mean, with all tokens of the secret masked together, among more alternatives.
        first: canaries whose secret ranked before all alternatives, one at a time.
        untrained: mean exposure one at a time of the same canaries in the model before training; None: not computed.
    """

    repeats: NonNegativeInt
    kept: NonNegativeFloat
    canaries: PositiveInt
    exposure: Estimate
    screened: Estimate
    first: NonNegativeInt
    untrained: Estimate | None = None


class ExposureSection(_Section):
    """Exposure of planted canaries (Carlini et al. 2019).

    Attributes:
        alternatives: among which a secret is ranked, masked one at a time; all have its number of tokens.
        screened_alternatives: the same, masked together. Of a rare number of tokens there may be fewer.
        chance: mean exposure of a secret that is like its alternatives.
        kinds: of identifiers, with the number of canaries.
        levels: by ascending repeats.
        trend: Spearman's correlation of repeats and exposure over canaries.
        trend_p: how often as large a correlation arises when repeats are exchanged among canaries; one-sided.
        untrained_trend: the same correlation in the model before training.
    """

    alternatives: PositiveInt
    screened_alternatives: PositiveInt
    chance: NonNegativeFloat
    kinds: dict[str, PositiveInt]
    levels: list[ExposureLevel] = Field(min_length=1)
    trend: float
    trend_p: float
    untrained_trend: float | None = None


class Separation(_Section):
    """Members against others by one score.

    Attributes:
        members, others: numbers of units: patients or documents.
        auc: area under the ROC curve. 0.5 is chance; equal scores count one half.
        tpr: share of the members above the threshold that at most 1 % of the others pass; None for fewer than 100
            others, whose 1 % is less than one.
    """

    members: PositiveInt
    others: PositiveInt
    auc: Estimate
    tpr: Estimate | None


class Attack(_Section):
    """One membership attack, or a control.

    Attributes:
        score: what distinguishes members; `length`, and the loss of the untrained model, are controls.
        model: the model that is attacked.
        reference: the model whose loss is subtracted.
        patients: with the documents of a patient together; None if patients are not known.
        documents: of all sources.
        sources: documents of each source.
    """

    score: Literal["loss", "reference", "length"]
    model: Literal["trained", "untrained"]
    reference: str | None = None
    patients: Separation | None
    documents: Separation
    sources: dict[str, Separation]


class _Sampled(_Section):
    """What the attacks on a sample of passages have in common.

    Attributes:
        longest: tokens of a passage, at most.
        seed: of the sample, the masks and the intervals.
        patients_known: whether intervals are by patient; else each document counted as a patient.
        epochs: how often training saw the packs of its documents that it saw at all, on average; None: not known.
    """

    longest: PositiveInt
    seed: NonNegativeInt
    patients_known: bool
    epochs: float | None = None


class MembershipSection(_Sampled):
    """Membership by loss and by a reference model (Carlini et al. 2022; Mireshghallah et al. 2022).

    Attributes:
        maskings: how often each passage was masked, anew each time.
        rate: share of the tokens masked.
        attacks: controls last.
    """

    maskings: PositiveInt
    rate: float
    attacks: list[Attack] = Field(min_length=1)


class Rates(_Section):
    """Shares of the identifiers that were recovered, and the difference with its interval by patients."""

    members: float
    others: float
    difference: Estimate


class Recovered(_Section):
    """Identifiers of one kind.

    Attributes:
        members, others: how many were masked, in training passages and in held-out ones.
        top: by k: each token of the identifier is among the k likeliest.
        untrained: the same of the untrained model.
    """

    members: PositiveInt
    others: PositiveInt
    top: dict[int, Rates]
    untrained: dict[int, Rates]


class RecoverySection(_Sampled):
    """Names, dates and other identifiers, masked and filled in.

    Attributes:
        unreadable: passages left out because their text has other tokens when it is tokenized again.
        kinds: by kind of identifier, `all` first; empty if a side has none. A kind that one side lacks is only in
            `all`.
    """

    unreadable: NonNegativeInt
    kinds: dict[str, Recovered]


class Gaps(_Section):
    """Passages of one side.

    Attributes:
        passages: that are long enough.
        recovered: whose gap is exact in its first tokens.
        extracted: of those, neither in held-out text of other patients nor written by the untrained model.
        longest: exact tokens of the extracted gap with the most, at most `gap`.
    """

    passages: PositiveInt
    recovered: NonNegativeInt
    extracted: NonNegativeInt
    longest: NonNegativeInt


class ExtractionSection(_Sampled):
    """Gaps of many tokens, written by the model from the text around them (after Carlini et al. 2023).

    Attributes:
        least: tokens that must be exact, from the first on.
        gap: tokens that were masked.
        difference: of the rates of extraction, members less others, by patients.
    """

    least: PositiveInt
    gap: PositiveInt
    members: Gaps
    others: Gaps
    difference: Estimate


class PrivacyReport(_Section):
    """What was tried on one checkpoint.

    Attributes:
        weights: `scoring.hash_weights` of the model that was attacked.
        checkpoint: the name of its directory.
        step: optimizer steps of the checkpoint.
        data: hash of the manifest of the data set that it was trained on.
        data_name: the last part of its address.
        date: when the last section was added.
        git_revision: of the code, if it is a checkout.
        samples: patients on each side, and canaries at each level, at most.
        seed: of every random choice of the attacks.
        sources: that were named to be attacked; none: all with texts of patients.
        references: models whose losses were subtracted, in addition to the untrained one.
    """

    version: Literal[1] = VERSION
    weights: str
    checkpoint: str
    step: NonNegativeInt
    data: str
    data_name: str
    date: Timestamp
    git_revision: str | None
    samples: PositiveInt = 200
    seed: NonNegativeInt = 0
    sources: list[str] = []
    references: list[str] = []
    exposure: ExposureSection | None = None
    membership: MembershipSection | None = None
    recovery: RecoverySection | None = None
    extraction: ExtractionSection | None = None

    def attacks(self) -> list[str]:
        """The names of the sections that are there."""
        return [name for name in SECTIONS if getattr(self, name) is not None]


SECTIONS = ("exposure", "membership", "recovery", "extraction")
_SCHEMA = TypeAdapter(PrivacyReport)
_ADVICE = "run `cmbert privacy` again, or restore the file"


def read_report(path: Path) -> PrivacyReport:
    """A report, from its file or from the directory that holds `privacy.json`.

    Raises:
        UserError: there is none, a later version wrote it, or its content is not that of a report.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: no such privacy report; `cmbert privacy RUN` writes it")
    version = read_json(file, TypeAdapter(dict[str, object]), _ADVICE).get("version")
    if version != VERSION:
        raise UserError(f"{file}: a privacy report of version {version!r}, expected {VERSION}: {_ADVICE}")
    return read_json(file, _SCHEMA, _ADVICE)


def write_report(report: PrivacyReport, path: Path) -> None:
    """Write a report to a file, in one step."""
    require_writable(path)
    atomic_write(path, report.model_dump_json(indent=1) + "\n")
