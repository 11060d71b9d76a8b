"""Identifiers masked and filled in: by a model that knows the notes, by one that does not, and by an oracle."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from attacked import scorer_of, words_of

from clinical_modernbert.evaluation.privacy.extraction import attack_extraction
from clinical_modernbert.evaluation.privacy.membership import attack_membership
from clinical_modernbert.evaluation.privacy.passages import Passage, read_held_out, sample_passages
from clinical_modernbert.evaluation.privacy.predictions import Answer, Question
from clinical_modernbert.evaluation.privacy.recovery import Recovery, attack_recovery, find_spans
from clinical_modernbert.evaluation.tasks.masked_words import data_vocabulary
from clinical_modernbert.streaming_data.shards.manifest import read_manifest
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

from .conftest import Attacked


def run(attacked: Attacked, tokens: int = 8192) -> Recovery:
    model, untrained = (scorer_of(model, attacked.data, tokens) for model in (attacked.trained, attacked.untrained))
    tokenizer = tokenizers.load(attacked.data / "tokenizer")
    result = attack_recovery(model, untrained, attacked.sample, tokenizer, {}, 128, 0)
    assert result
    return result


@pytest.mark.slow
def test_names_of_training_notes_are_filled_in_and_those_of_held_out_notes_are_not(attacked: Attacked) -> None:
    result = run(attacked)
    names = result.kinds["name"]
    assert names.members >= 20
    assert names.others >= 20
    assert names.top[10].members > names.top[1].members > names.top[1].others
    assert names.top[10].difference.low > 0.2
    for rates in names.untrained.values():
        assert rates.difference.low <= 0 <= rates.difference.high
    assert set(result.kinds) == {"all", "name", "date"}
    assert result.kinds["all"].members == names.members + result.kinds["date"].members
    assert result.unreadable == 0
    assert Recovery.model_validate_json(result.model_dump_json()) == result
    assert run(attacked, tokens=1) == result


@pytest.mark.slow
def test_results_and_messages_hold_no_word_of_a_note(
    attacked: Attacked, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    model, untrained = (scorer_of(model, attacked.data) for model in (attacked.trained, attacked.untrained))
    vocabulary = data_vocabulary(attacked.manifest)
    held_out = read_held_out(str(attacked.data), ["notes"], attacked.sample, 0)
    results = [
        attack_membership(model, {"untrained": untrained}, attacked.sample, vocabulary, 1, 128, 0),
        run(attacked),
        attack_extraction(model, untrained, attacked.sample, held_out, vocabulary.mask_id, 128, 0),
    ]
    written = "".join(result.model_dump_json() for result in results if result)
    written = (written + caplog.text + "".join(capfd.readouterr())).lower()
    words = words_of(attacked.data)
    assert len(words) > 100
    assert not [word for word in words if word in written]


def test_an_identifier_is_hidden_wherever_its_passage_has_it(notes: Path) -> None:
    tokenizer = tokenizers.load(notes / "tokenizer")
    text = "mrs. Bado Kimu saw Dr. Tola on 3/14/2019 and MRS. BADO KIMU came again on 3/14/2019 to Dr. Tola"
    tokens = np.array([1, *tokenizer.backend.encode(text, add_special_tokens=False).ids, 2], np.int64)
    passage = Passage("notes", 0, 0, True, tokens, np.ones(len(tokens), np.bool_))
    spans = find_spans(passage, tokenizer, (), 0)
    assert spans
    assert {span.kind for span in spans} == {"name", "date"}
    mask = tokenizer.special_ids["mask"]
    for span in spans:
        question = span.question
        assert (question.tokens[question.positions] == mask).all()
        assert (tokens[question.positions] == question.targets).all()
        shown = question.tokens[question.tokens != mask].tolist()
        hidden = str(tokenizer.backend.decode(question.targets.tolist())).strip()
        assert hidden.lower() in text.lower()
        assert hidden.lower() not in str(tokenizer.backend.decode(shown)).lower()


def test_an_oracle_recovers_everything_and_a_model_without_context_nothing(notes: Path) -> None:
    def answer(rank: int, questions: Iterable[Question]) -> Iterator[Answer]:
        for question in questions:
            count = len(question.positions)
            yield Answer(np.zeros(count), np.full(count, rank), question.targets)

    manifest = read_manifest(str(notes))
    sample = sample_passages(str(notes), manifest, ["notes"], 100, 128, 0)
    tokenizer = tokenizers.load(notes / "tokenizer")
    result = attack_recovery(partial(answer, 0), partial(answer, 9), sample, tokenizer, {}, 128, 0)
    assert result
    everything = result.kinds["all"]
    for rates in (*everything.top.values(), everything.untrained[10]):
        assert (rates.members, rates.others, rates.difference.value) == (1, 1, 0)
    assert everything.untrained[1].members == everything.untrained[1].others == 0
