"""A model that prefers an outcome for one group is found; one that prefers words of its own is not."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.bias.findings import findings, is_comparison
from clinical_modernbert.evaluation.bias.task import BiasTask, precedence, read_bias, run_bias
from clinical_modernbert.evaluation.bias.templates import PACKAGED, note, read_templates, wordings
from clinical_modernbert.evaluation.models.model import EvaluatedModel, packed_model
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.tokenizer import tokenizer

TASK = BiasTask(kind="bias")
TEMPLATES = read_templates(PACKAGED)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EvaluatedModel:
    """Untrained, with a tokenizer that knows the words of the templates, some of them in parts."""
    notes = [
        note(template, wording.patient, outcome)
        for domain in TEMPLATES.domains.values()
        for template, outcome in zip(domain.templates, [*domain.words, *domain.against] * 2, strict=True)
        for wording in wordings(TEMPLATES)[::5]
    ]
    directory = tmp_path_factory.mktemp("tokenizer") / "words"
    tokenizer.train(notes, 576, directory, max_length=128)
    config = ModelConfig(
        vocab_size=640, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=128, pad_token_id=3, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    masked_lm = MaskedLM(config)
    initialize(masked_lm, seed=0)
    return packed_model(masked_lm, directory, "untrained")


Logits = Callable[[Sequence[torch.Tensor], torch.Tensor], torch.Tensor]


def wordy(model: EvaluatedModel, preferred: Sequence[str] = (), group: str = "$^") -> Logits:
    """Scores that depend on every token of a text, so that each wording has an effect of its own in all templates.

    Args:
        preferred: words whose tokens have a higher score in texts that match `group`.
    """
    generator = torch.Generator().manual_seed(0)
    size = len(model.tokenizer)
    effects = 0.1 * torch.randn(size, size, generator=generator)
    ids = [one for word in preferred for one in model.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]]

    def logits(sequences: Sequence[torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
        rows = []
        for sequence in sequences:
            scores = effects[sequence].mean(0)
            if re.search(group, model.tokenizer.decode(sequence)):
                scores[ids] += 3
            rows.append(scores.expand(len(sequence), -1))
        return torch.cat(rows)[positions]

    return logits


@pytest.mark.slow
def test_a_preference_for_a_group_is_found_and_none_is_in_words_alone(model: EvaluatedModel, quick: Protocol) -> None:
    task = TASK.model_copy(update={"measures": ("words", "order")})
    indifferent = run_bias(replace(model, open_masked_lm=lambda: wordy(model)), task, Path(), quick, 0)
    assert not [one for one in findings(indifferent) if one.found]
    group = r"woman|female|lady"
    rigged = wordy(model, TEMPLATES.domains["adherence"].words, group)
    scores = run_bias(replace(model, open_masked_lm=lambda: rigged), task, Path(), quick, 0)
    found = {(one.measure, one.groups): one.difference for one in findings(scores) if one.found}
    assert found["words adherence", "sex: woman - man"] > 1
    assert all(groups == "sex: woman - man" for _, groups in found)
    assert scores["words gap"] > indifferent["words gap"] + 0.01
    assert abs(indifferent["words gap"]) < 0.1 * indifferent["words control"]


@pytest.mark.slow
def test_an_untrained_model_has_no_findings_and_every_comparison_is_scored(
    model: EvaluatedModel, quick: Protocol
) -> None:
    scores = run_bias(model, TASK, Path(), quick, 0)
    assert list(scores)[:3] == ["words gap", "words swap", "words control"]
    assert sum(map(is_comparison, scores)) == 3 * len(TEMPLATES.domains) * 7
    assert not [one for one in findings(scores) if one.found]
    assert {one.units for one in findings(scores)} == {16}


def test_the_templates_name_groups_once_and_have_equal_words() -> None:
    named = wordings(TEMPLATES)
    assert len({one.patient for one in named}) == len(named)
    for domain in TEMPLATES.domains.values():
        assert len(set(domain.templates)) == len(domain.templates) >= 16  # fewer have no p below Holm's first threshold
        assert len(domain.words) == len(domain.against)
        text = note(domain.templates[0], named[0].patient, domain.words[0])
        assert "{" not in text
        assert text[0].isupper()


def test_precedence_is_the_share_of_pairs_in_order() -> None:
    assert precedence(np.array([[3.0, 1.0, 2.0, 1.0]]), 2).tolist() == [(1 + 1 + 0 + 0.5) / 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("reference: man", "reference: men"), r"bias\.yaml:\d+: .*reference men is none of the groups"),
        (("woman: [woman, female, lady]", "woman: [woman, lady]"), "the same number of wordings"),
        (('"a 54-year-old {}"', '"a 54-year-old"'), "expected it once"),
        (("was seen in clinic and has been {outcome} with", "was seen with"), "template 1 needs"),
        (("a Caucasian,", "a white Caucasian,"), "two wordings of White have white"),
        (("words: [claims,", "words: [claims, reports,"), "reports is in `words` and in `against`"),
    ],
)
def test_mistakes_in_templates_are_errors(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    text = PACKAGED.read_text()
    assert change[0] in text
    (tmp_path / "bias.yaml").write_text(text.replace(*change))
    with pytest.raises(UserError, match=message):
        read_bias(TASK.model_copy(update={"templates": "bias.yaml"}), tmp_path)
