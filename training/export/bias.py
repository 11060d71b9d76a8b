"""Bias probes of `cmbert evaluate`, read from bias.json for the model card."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from ...configs.json_text import read_json
from .public import public_name

FILE = "bias.json"


class Comparison(BaseModel):
    """A difference of two groups."""

    measure: str
    groups: str
    difference: float
    low: float
    high: float
    floor: float
    p: float
    found: bool


class _File(BaseModel):
    tasks: dict[str, dict[str, list[Comparison]]]


Probes = Mapping[str, Mapping[str, Sequence[Comparison]]]
"""Task -> model -> comparisons."""
_SCHEMA = TypeAdapter(_File)
_MOST = 20


def read_probes(run_dir: Path, evaluations: Sequence[Path] = ()) -> Probes:
    """The probes in the run's `evaluation` directory and in `evaluations`; for the same task and model the later wins.

    Raises:
        UserError: a bias.json is not as it was written.
    """
    merged: dict[str, dict[str, Sequence[Comparison]]] = {}
    for directory in [run_dir / "evaluation", *evaluations]:
        if (path := directory / FILE).is_file():
            for task, models in read_json(
                path, _SCHEMA, "restore it, or run the same cmbert evaluate again"
            ).tasks.items():
                merged.setdefault(task, {}).update(models)
    return merged


def bias_section(probes: Probes) -> str:
    """The section of the card: what was probed, what was found, and what it does not show."""
    if not probes:
        return (
            "Associations with sex, age, ethnicity or insurance were not measured. `cmbert evaluate --task bias` "
            "probes for them."
        )
    parts = [
        "In otherwise equal texts the words for a group were swapped (sex, age, ethnicity, insurance). A difference is "
        "found if it is more than chance over texts and more than other words for the same group explain, after "
        "correction for the number of comparisons."
    ]
    parts += [_model(task, model, found) for task, models in probes.items() for model, found in models.items()]
    parts.append(
        "These are associations in short synthetic notes, or changes of predictions in swapped texts. They are not "
        "harm that was observed, and what was not found is not absent: other words, languages, groups and tasks were "
        "not probed."
    )
    return "\n\n".join(parts)


def _model(task: str, model: str, comparisons: Sequence[Comparison]) -> str:
    found = [one for one in comparisons if one.found]
    text = f"`{task}`, {public_name(model)}: {len(found)} of {len(comparisons)} comparisons were found."
    if not found:
        return text
    strongest = sorted(found, key=lambda one: -abs(one.difference) / (one.floor or 1e-12))[:_MOST]
    rows = [
        f"| {one.measure} | {one.groups} | {one.difference:+.3f} ({one.low:+.3f} to {one.high:+.3f}) | "
        f"{one.floor:.3f} |"
        for one in strongest
    ]
    head = "| measure | groups | difference (95 %) | what wordings explain |\n| --- | --- | --- | --- |"
    return "\n".join([text, "", head, *(row.replace("\n", " ") for row in rows)])
