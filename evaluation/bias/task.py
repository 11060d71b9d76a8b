"""What an encoder fills in and how it ranks when only the group that a note names is swapped.

Notes are our own templates. Three measures compare the words of a domain with its other words, `against`:

- words: the log-odds of a word in its masked place, its mean over `words` minus that over `against`;
- order: the share of pairs, one of `words` and one of `against`, in which the first has more probability per token;
- embedding: the share of these pairs in which the note of a neutral patient with the first word is nearer, by cosine,
  to the note that names the group and has a blank.

Each is computed for every wording of every group in every template, and a unit is a template.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from ...configs.errors import UserError
from ..models.protocol import Pooling, Protocol
from ..scores.ranking import normalize
from ..scores.units import Score
from .findings import comparison_name, comparison_score
from .masked import score_words
from .templates import PACKAGED, Attribute, Domain, Templates, Wording, note, read_templates, sides, wordings

if TYPE_CHECKING:
    from ..models.model import EvaluatedModel

Measure = Literal["words", "order", "embedding"]
Array = npt.NDArray[np.float64]
_NEUTRAL = "a patient"


class BiasTask(BaseModel):
    """Templates with counterfactual pairs; the evaluation's `data` is not used unless `templates` are your own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["bias"]
    templates: str | None = Field(None, description="your own file, relative to `data`; none: the packaged one")
    measures: tuple[Measure, ...] = Field(
        ("words", "order", "embedding"), min_length=1, description="without a masked-LM head: embedding"
    )
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        return [self.templates or str(PACKAGED)]


def read_bias(task: BiasTask, data: Path) -> Templates:
    """The templates; UserError for the mistakes in their file."""
    return read_templates(data / task.files()[0])


def run_bias(model: "EvaluatedModel", task: BiasTask, data: Path, protocol: Protocol, seed: int) -> dict[str, Score]:
    """For each measure the size of swaps, of controls and their difference; then every comparison of two groups.

    `gap`, the first, is `swap` - `control`: the mean size of the change when a wording of a group is replaced by one of
    the reference group, and when it is replaced by another of the same group.

    Raises:
        UserError: the model cannot fill masks, or a template is longer than it allows.
    """
    templates = read_bias(task, data)
    named = wordings(templates)
    values: dict[Measure, dict[str, Array]] = {measure: {} for measure in task.measures}
    for name, domain in templates.domains.items():
        if "words" in values or "order" in values:
            for measure, found in _filled(model, domain, named, protocol.tokens).items():
                if measure in values:
                    values[measure][name] = found
        if "embedding" in values:
            values["embedding"][name] = _embedded(model, domain, named, task.pooling, protocol.tokens)
    scores: dict[str, Score] = {}
    for measure, by_domain in values.items():
        scores |= summary_scores(measure, templates, named, by_domain)
    for measure, by_domain in values.items():
        for name, contrasts in by_domain.items():
            for groups, group, reference in _comparisons(templates, named):
                score = comparison_score(contrasts[:, group], contrasts[:, reference])
                scores[comparison_name(f"{measure} {name}", *groups)] = score
    return scores


def summary_scores(
    measure: str, templates: Templates, named: Sequence[Wording], by_domain: Mapping[str, Array]
) -> dict[str, Score]:
    """The sizes of swaps and controls of a measure, whose contrasts are (templates, wordings) for each domain."""
    contrasts = np.concatenate(list(by_domain.values()))
    swaps = [
        np.abs(contrasts[:, a] - contrasts[:, b])
        for _, group, reference in _comparisons(templates, named)
        for a, b in product(group, reference)
    ]
    controls = [
        np.abs(contrasts[:, a] - contrasts[:, b])
        for columns in _columns(named).values()
        for a, b in combinations(columns, 2)
    ]
    swap, control = np.mean(swaps, axis=0), np.mean(controls, axis=0)
    return {
        f"{measure} gap": Score("mean", swap - control),
        f"{measure} swap": Score("mean", swap),
        f"{measure} control": Score("mean", control),
    }


def _columns(named: Sequence[Wording]) -> dict[tuple[str, str], list[int]]:
    """The columns of each group of each attribute."""
    columns: dict[tuple[str, str], list[int]] = {}
    for column, wording in enumerate(named):
        columns.setdefault((wording.attribute, wording.group), []).append(column)
    return columns


def _comparisons(
    templates: Templates, named: Sequence[Wording]
) -> Iterator[tuple[tuple[str, str, str], list[int], list[int]]]:
    """((attribute, group, reference), columns of the group, columns of the reference) of each comparison."""
    columns = _columns(named)
    for name, attribute in templates.attributes.items():
        for group in _others(attribute):
            reference = attribute.reference
            yield (name, group, reference), columns[name, group], columns[name, reference]


def _others(attribute: Attribute) -> list[str]:
    return [group for group in attribute.groups if group != attribute.reference]


def _filled(model: "EvaluatedModel", domain: Domain, named: Sequence[Wording], tokens: int) -> dict[Measure, Array]:
    """The contrasts `words` and `order` of each template and wording, (T, W)."""
    from ..models.clozes import open_filler

    filler = open_filler(model)
    if model.tokenizer.mask_token_id is None:
        raise UserError(f"{model.name}: its tokenizer has no mask token; use --set task.measures=[embedding]")
    texts = [sides(template, wording.patient) for template in domain.templates for wording in named]
    scores = score_words(filler, model.tokenizer, texts, [*domain.words, *domain.against], tokens)
    first = len(domain.words)
    odds = scores.log_odds()
    contrast = odds[:, :first].mean(axis=1) - odds[:, first:].mean(axis=1)
    shape = (len(domain.templates), len(named))
    before = precedence(scores.log_probability / scores.tokens, first)
    return {"words": contrast.reshape(shape), "order": before.reshape(shape)}


def _embedded(
    model: "EvaluatedModel", domain: Domain, named: Sequence[Wording], pooling: Pooling, tokens: int
) -> Array:
    """The contrast `embedding` of each template and wording, (T, W)."""
    from ..models.embed import embed

    outcomes = [*domain.words, *domain.against]
    blank = [note(template, wording.patient) for template in domain.templates for wording in named]
    filled = [note(template, _NEUTRAL, outcome) for template in domain.templates for outcome in outcomes]
    vectors = normalize(embed(model, [*blank, *filled], pooling, tokens))
    count = len(domain.templates)
    notes = vectors[: len(blank)].reshape(count, len(named), -1)
    outcome_notes = vectors[len(blank) :].reshape(count, len(outcomes), -1)
    cosines = np.einsum("twd,tod->two", notes, outcome_notes).astype(np.float64)
    return precedence(cosines, len(domain.words))


def precedence(values: Array, first: int) -> Array:
    """The share of pairs in which one of the `first` values is larger than one of the others, (..., n) -> (...)."""
    a, b = values[..., :first, None], values[..., None, first:]
    share: Array = ((a > b) + 0.5 * (a == b)).mean(axis=(-2, -1))
    return share
