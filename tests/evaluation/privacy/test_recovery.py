"""Identifiers masked and filled in: by a model that knows the notes, by one that does not, and by an oracle."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from attacked import model_of, one_by_one, oracle, scorer_of, words_of

from clinical_modernbert.evaluation.privacy.extraction import attack_extraction
from clinical_modernbert.evaluation.privacy.membership import attack_membership
from clinical_modernbert.evaluation.privacy.passages import Passage, read_held_out, sample_passages
from clinical_modernbert.evaluation.privacy.recovery import attack_recovery, find_spans
from clinical_modernbert.evaluation.privacy.report import RecoverySection
from clinical_modernbert.evaluation.privacy.scorer import Scorer
from clinical_modernbert.evaluation.tasks.masked_words import data_vocabulary
from clinical_modernbert.streaming_data.shards.manifest import read_manifest
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

from .conftest import Attacked


def run(attacked: Attacked, change: Callable[[Scorer], Scorer] = lambda scorer: scorer) -> RecoverySection:
    model, untrained = (change(scorer_of(model, attacked.data)) for model in (attacked.trained, attacked.untrained))
    tokenizer = tokenizers.load(attacked.data / "tokenizer")
    return attack_recovery(model, untrained, attacked.sample, tokenizer, {}, 128, 0)


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
    assert RecoverySection.model_validate_json(result.model_dump_json()) == result
    assert run(attacked, one_by_one) == result


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
        cloze = span.cloze
        assert (cloze.tokens[cloze.positions] == mask).all()
        assert (tokens[cloze.positions.numpy()] == cloze.targets.numpy()).all()
        shown = cloze.tokens[cloze.tokens != mask].tolist()
        hidden = str(tokenizer.backend.decode(cloze.targets.tolist())).strip()
        assert hidden.lower() in text.lower()
        assert hidden.lower() not in str(tokenizer.backend.decode(shown)).lower()


@pytest.mark.parametrize(("knows", "share"), [(True, 1.0), (False, 0.0)])
def test_a_model_that_knows_every_token_recovers_everything(notes: Path, knows: bool, share: float) -> None:
    manifest = read_manifest(str(notes))
    sample = sample_passages(str(notes), manifest, ["notes"], 100, 128, 0)
    truth = {}
    tokenizer = tokenizers.load(notes / "tokenizer")
    for passage in sample.passages:
        for span in find_spans(passage, tokenizer, (), 0) or ():
            for position, target in zip(span.cloze.positions.tolist(), span.cloze.targets.tolist(), strict=True):
                truth[span.cloze.tokens.numpy().tobytes(), position] = target if knows else 0
    untrained = scorer_of(model_of(manifest), notes)
    model = oracle(untrained, lambda sequence, position: truth[sequence.numpy().tobytes(), position])
    everything = attack_recovery(model, untrained, sample, tokenizer, {}, 128, 0).kinds["all"]
    assert (everything.top[1].members, everything.top[1].others) == (share, share)
    assert everything.untrained[1].members < 0.1
