"""The card of a fine-tuned model."""

from clinical_modernbert.evaluation.fine_tuning.card import fine_tuned_card
from clinical_modernbert.evaluation.fine_tuning.choice import Choice, Trial
from clinical_modernbert.evaluation.fine_tuning.head_config import HeadConfig
from clinical_modernbert.evaluation.fine_tuning.kind import ALL, Splits, Tuned
from clinical_modernbert.evaluation.models.protocol import Protocol


def card(tuned: Tuned) -> str:
    head = HeadConfig(rows="texts", labels=("fever", "cough"), problem="several classes")
    splits = Splits(["secret"] * 1200, ["secret"] * 3, ["secret"] * 20)
    last = Trial(2e-5, (), 3)
    choice = Choice(20, (last,), last)
    return fine_tuned_card("base", "codes", head, splits, Protocol(), 7, {"micro_f1": 0.5}, choice, tuned)


def test_it_has_counts_scores_and_protocol_and_no_text() -> None:
    text = card({})
    for row in ("training | 1,200", "development | 20", "micro_f1 | 0.5000", "epochs | 3", "seed | 7"):
        assert f"| {row} |" in text
    assert "secret" not in text
    assert "Thresholds" not in text


def test_it_names_thresholds_that_were_chosen() -> None:
    text = card({ALL: 0.31, "fever": 0.625})
    assert "| every label without its own | 0.3100 |\n| fever | 0.6250 |\n" in text
    assert "Chosen on the development split." in text
