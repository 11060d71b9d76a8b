"""All attacks on one sample: what is finished is not computed again, and nothing written holds a word of a note."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from attacked import model_of, scorer_of, words_of, write_notes

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.privacy.attacks import NAMES, Settings, run_attacks
from clinical_modernbert.evaluation.privacy.membership import UNTRAINED
from clinical_modernbert.evaluation.privacy.report import MembershipSection
from clinical_modernbert.evaluation.privacy.scoring import Scorer
from clinical_modernbert.evaluation.privacy.seen import packs_seen
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.streaming_data.shards.manifest import read_manifest

SETTINGS = Settings(patients=6, longest=64, maskings=1)


@pytest.fixture(scope="module")
def untrained(notes: Path) -> Scorer:
    return scorer_of(model_of(read_manifest(str(notes))), notes)


def broken(scorer: Scorer) -> Scorer:
    def logits(*_: object) -> torch.Tensor:
        raise RuntimeError("computed")

    return replace(scorer, logits=logits)


def test_finished_sections_are_read_back_and_others_are_computed(
    notes: Path, untrained: Scorer, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    models = (untrained, {UNTRAINED: untrained})
    result = run_attacks(*models, str(notes), SETTINGS, tmp_path)
    assert tuple(result) == NAMES
    files = sorted(file.name.partition("-")[0] for file in tmp_path.iterdir())
    assert files == sorted(NAMES)
    unusable = (broken(untrained), {UNTRAINED: broken(untrained)})
    assert run_attacks(*unusable, str(notes), SETTINGS, tmp_path) == result
    for settings, seen in ((SETTINGS._replace(seed=1), None), (SETTINGS, {"notes": Counter({0: 1, 1: 1, 2: 1})})):
        with pytest.raises(RuntimeError, match="computed"):
            run_attacks(*unusable, str(notes), settings, tmp_path, seen=seen)
    [kept] = tmp_path.glob("recovery-*")
    kept.unlink()
    assert list(run_attacks(*models, str(notes), SETTINGS, tmp_path, names=["recovery"])) == ["recovery"]
    assert run_attacks(*unusable, str(notes), SETTINGS, tmp_path) == result
    written = "".join(file.read_text() for file in tmp_path.iterdir()) + caplog.text + "".join(capfd.readouterr())
    assert not [word for word in words_of(notes) if word in written.lower()]


def test_an_untrained_model_is_not_better_than_itself(notes: Path, untrained: Scorer, tmp_path: Path) -> None:
    section = run_attacks(untrained, {UNTRAINED: untrained}, str(notes), SETTINGS, tmp_path)["membership"]
    assert isinstance(section, MembershipSection)
    assert section.epochs is None
    [reference] = [attack for attack in section.attacks if attack.score == "reference"]
    assert reference.documents.auc.value == reference.documents.auc.low == reference.documents.auc.high == 0.5


def test_a_section_says_how_often_training_saw_its_packs(notes: Path, untrained: Scorer, tmp_path: Path) -> None:
    seen = {"notes": Counter({0: 3, 1: 2, 2: 0}), "others": Counter({0: 9})}
    sections = run_attacks(untrained, {UNTRAINED: untrained}, str(notes), SETTINGS, tmp_path, ["recovery"], seen=seen)
    assert sections["recovery"].epochs == 2.5


def test_another_tokenizer_or_source_is_refused(notes: Path, untrained: Scorer, tmp_path: Path) -> None:
    other = write_notes(tmp_path / "other", 10, seed=5)
    with pytest.raises(UserError, match="another tokenizer than that of the model"):
        run_attacks(untrained, {UNTRAINED: untrained}, str(other), SETTINGS, tmp_path)
    with pytest.raises(UserError, match="has no source letters; it has notes"):
        run_attacks(untrained, {UNTRAINED: untrained}, str(notes), SETTINGS, tmp_path, sources=["letters"])


def test_packs_seen_are_those_of_the_order(notes: Path) -> None:
    data = DataConfig(path=str(notes), seq_length=256)
    dataset = open_dataset(data, seed=3)
    packs = len(dataset.readers[0])
    for number in (0, 1, packs - 1, packs, packs + 2, 3 * packs):
        expected = Counter(address.pack for address in dataset.order.between(0, number))
        assert packs_seen(data, 3, number) == {"notes": expected}
