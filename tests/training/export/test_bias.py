"""The card's section of a bias probe, from the file that `cmbert evaluate` writes."""

import json
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.bias.findings import Finding
from clinical_modernbert.evaluation.bias.report import write_probes
from clinical_modernbert.training.export.bias import bias_section, read_probes

FOUND = Finding("words adherence", "sex: woman - man", 16, 0.5, 0.4, 0.6, 2.0, 0.1, 0.001)
NOT = FOUND._replace(groups="age: older - younger", p=0.4)


def test_the_card_has_what_was_found_and_what_that_does_not_show(tmp_path: Path) -> None:
    write_probes({"bias": {"mine": [FOUND, NOT]}}, tmp_path)
    write_probes({"bias-swap": {"mine": [NOT]}}, tmp_path)
    assert set(json.loads((tmp_path / "bias.json").read_text())["tasks"]) == {"bias", "bias-swap"}
    card = bias_section(read_probes(tmp_path / "run", [tmp_path]))
    assert "`bias`, mine: 1 of 2 comparisons were found." in card
    assert "| words adherence | sex: woman - man | +0.500 (+0.400 to +0.600) | 0.100 |" in card
    assert "`bias-swap`, mine: 0 of 1 comparisons were found." in card
    assert "what was not found is not absent" in card
    assert "older" not in card


def test_without_a_probe_the_card_names_its_absence_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    assert "were not measured" in bias_section(read_probes(tmp_path))
    (tmp_path / "bias.json").write_text('{"tasks": {"bias": 1}}')
    with pytest.raises(UserError, match=r"bias\.json"):
        read_probes(tmp_path / "run", [tmp_path])
