"""Packages that compute scores are imported before a model is trained."""

import sys

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.scores.optional_dependencies import import_packages, require


def test_every_package_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed and broken, such as a build for another numpy."""
    for module in ("sklearn.metrics", "seqeval.metrics"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as error:
        import_packages(["seqeval", "scikit-learn", "scipy"])
    assert "sklearn.metrics cannot be imported" in str(error.value)
    assert "run `pip install --upgrade scikit-learn`" in str(error.value)
    assert "run `pip install --upgrade seqeval`" in str(error.value)
    assert "scipy" not in str(error.value)


def test_a_submodule_leads_to_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(UserError, match="--upgrade scikit-learn"):
        require("sklearn.linear_model")
