"""The privacy report of one checkpoint, `privacy.json`: what was tried on its weights, how, and what was found.

Each attack has its own section, absent if it was not tried. A section has counts and scores only, no text of documents
and no canary. Reading a report imports no torch.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, TypeAdapter

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
        repeats: 0: the control, planted nowhere.
        canaries: at this level.
        exposure: mean, in bits, by `exposure`'s stronger attack: tokens masked one at a time.
        screened: mean, with all tokens of the secret masked together, among more alternatives.
        first: canaries whose secret ranked before all alternatives, one at a time.
        untrained: mean exposure one at a time of the same canaries in the model before training; None: not computed.
    """

    repeats: NonNegativeInt
    canaries: PositiveInt
    exposure: Estimate
    screened: Estimate
    first: NonNegativeInt
    untrained: Estimate | None = None


class ExposureSection(_Section):
    """Exposure of planted canaries (Carlini et al. 2019).

    Attributes:
        alternatives: among which a secret is ranked, masked one at a time; all have its number of tokens.
        screened_alternatives: the same, masked together.
        kinds: of identifiers, with the number of canaries.
        levels: by ascending repeats.
        trend: Spearman's correlation of repeats and exposure over canaries.
        trend_p: how often as large a correlation arises when repeats are exchanged among canaries; one-sided.
        untrained_trend: the same correlation in the model before training.
    """

    alternatives: PositiveInt
    screened_alternatives: PositiveInt
    kinds: dict[str, PositiveInt]
    levels: list[ExposureLevel] = Field(min_length=1)
    trend: float
    trend_p: float
    untrained_trend: float | None = None


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
        seed: of every random choice of the attacks.
    """

    version: Literal[1] = VERSION
    weights: str
    checkpoint: str
    step: NonNegativeInt
    data: str
    data_name: str
    date: Timestamp
    git_revision: str | None
    seed: NonNegativeInt = 0
    exposure: ExposureSection | None = None

    def attacks(self) -> list[str]:
        """The names of the sections that are there."""
        return [name for name in SECTIONS if getattr(self, name) is not None]


SECTIONS = ("exposure",)
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
