"""Codes: chapters, the sample, and the scores of perfect and random vectors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.tasks.code_chapters import icd9_chapter, icd10_chapter
from clinical_modernbert.evaluation.tasks.code_plot import plot_codes
from clinical_modernbert.evaluation.tasks.code_structure import (
    Code,
    CodesTask,
    HeldOutCodes,
    crosswalk,
    purity,
    read_systems,
    run_codes,
    silhouette,
    structure,
)
from clinical_modernbert.streaming_data.corpora.ontology_passages import OntologySource
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.documents.document import is_held_out

TASK = CodesTask(kind="codes", icd9="icd9.txt", icd10="icd10.txt", crosswalk="gem.txt", codes=12)

ICD9 = [
    ("0010", "Cholera"),
    ("0020", "Typhoid"),
    ("1400", "Lip"),
    ("1410", "Tongue"),
    ("25000", "Diabetes"),
    ("E8497", "Hall"),
]
ICD10 = [
    ("A000", "Cholera"),
    ("A0100", "Typhoid"),
    ("C000", "Lip"),
    ("C01", "Tongue"),
    ("E119", "Diabetes"),
    ("Y9289", "Hall"),
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, codes in (("icd9", ICD9), ("icd10", ICD10)):
        (tmp_path / f"{name}.txt").write_text("".join(f"{code:<8}{text}\n" for code, text in codes))
    lines = [f"{a:<6}{b:<8}10000\n" for (a, _), (b, _) in zip(ICD9, ICD10, strict=True)]
    (tmp_path / "gem.txt").write_text("".join([*lines, "0010  C000    10111\n", "1410  NoDx    11000\n"]))
    return tmp_path


@pytest.mark.parametrize(
    ("code", "chapter"),
    [("001.0", "Infections"), ("139.8", "Infections"), ("140", "Neoplasms"), ("250.00", "Endocrine"),
     ("389.9", "Nervous system"), ("999.9", "Injury"), ("E849.7", "External causes"), ("V58.61", "Factors")],
)  # fmt: skip
def test_chapters_of_icd9(code: str, chapter: str) -> None:
    assert icd9_chapter(code) == chapter


@pytest.mark.parametrize(
    ("code", "chapter"),
    [("A00.0", "Infections"), ("B99.9", "Infections"), ("D49.9", "Neoplasms"), ("D50.0", "Blood"), ("H59", "Eye"),
     ("H60.0", "Ear"), ("O9A.1", "Pregnancy"), ("T88.9", "Injury"), ("U07.1", "Special"), ("Z99.9", "Factors")],
)  # fmt: skip
def test_chapters_of_icd10(code: str, chapter: str) -> None:
    assert icd10_chapter(code) == chapter


def test_systems_are_read_and_sampled(files: Path) -> None:
    systems = read_systems(TASK, files)
    assert {code.code for code in systems.icd9} == {"001.0", "002.0", "140.0", "141.0", "250.00", "E849.7"}
    assert Code("250.00", "Diabetes", "Endocrine", "ICD 9 250") in systems.icd9
    for index, equivalents in systems.equivalents.items():
        assert [systems.icd10[other].description for other in equivalents] == [systems.icd9[index].description]
    two = read_systems(TASK.model_copy(update={"codes": 2}), files)
    assert (len(two.icd9), len(two.icd10)) == (2, 2)
    assert two.icd9 == systems.icd9[:2]


def clusters(noise: float, count: int = 300, chapters: int = 5) -> tuple[np.ndarray, list[Code]]:
    """Pairs of codes with the same category, and vectors that encode the chapter, plus noise."""
    generator = np.random.default_rng(0)
    chapter_of = [number // 2 % chapters for number in range(count)]
    vectors = np.eye(chapters)[chapter_of] + noise * generator.normal(size=(count, chapters))
    codes = [Code(f"c{n}", "", f"chapter {chapter}", f"category {n // 2}") for n, chapter in enumerate(chapter_of)]
    return vectors.astype(np.float32), codes


def test_vectors_that_encode_the_chapter() -> None:
    vectors, codes = clusters(noise=0.01)
    assert purity(vectors, codes) == 1
    assert silhouette(vectors, codes) > 0.98


def test_random_vectors() -> None:
    vectors, codes = clusters(noise=100.0)
    assert purity(vectors, codes) == pytest.approx(1 / 5, abs=0.03)
    assert abs(silhouette(vectors, codes)) < 0.1


def test_neighbors_in_the_same_category_are_ignored() -> None:
    """Each code is next to the only other code of its category; all other codes are in other chapters."""
    vectors = np.repeat(np.eye(6, dtype=np.float32), 2, axis=0)
    codes = [Code(f"c{n}", "", f"chapter {n // 2}", f"category {n // 2}") for n in range(12)]
    assert purity(vectors, codes) == 0


def test_crosswalk_scores_computed_by_hand() -> None:
    corpus = np.eye(4, dtype=np.float32)
    queries = np.array([[1, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 0, 1]], np.float32)
    assert crosswalk(queries, corpus, {0: [0], 1: [2, 0]}) == {"mrr": 0.75, "recall@10": 1.0}


def test_equal_descriptions_rank_first(files: Path) -> None:
    systems = read_systems(TASK, files)

    def letter_counts(texts: Sequence[str]) -> np.ndarray:
        return np.array([[text.count(chr(number)) for number in range(128)] for text in texts], np.float32)

    scores = structure(systems, letter_counts)
    assert scores["crosswalk description mrr"] == 1
    assert scores["crosswalk bare mrr"] < 1


def test_transformed_vectors_have_scores_of_their_own(files: Path) -> None:
    """A direction that all texts share hides the rest from the cosine; centering shows it again."""
    systems = read_systems(TASK, files)

    def hidden(texts: Sequence[str]) -> np.ndarray:
        common = np.full((len(texts), 1), 1e4)
        letters = [[text.lower().count(chr(number)) for number in range(97, 123)] for text in texts]
        return np.hstack([letters, common]).astype(np.float32)

    scores = structure(systems, hidden, ("raw", "centered", "whitened"))
    assert len(scores) == 36
    assert {name for name in scores if name.endswith(("centered", "whitened"))} == {
        f"{name} {transform}" for name in structure(systems, hidden) for transform in ("centered", "whitened")
    }
    assert scores["crosswalk description mrr centered"] == 1


def test_an_encoder_is_scored_and_plotted(files: Path, ours: EvaluatedModel, quick: Protocol) -> None:
    scores = run_codes(ours, TASK, files, quick, 0)
    assert scores.pop("cut") == 0
    assert len(scores) == 12
    assert scores["crosswalk description mrr"] == 1
    plot_codes([ours, ours], TASK, files, 512, files / "codes.png")
    assert (files / "codes.png").read_bytes().startswith(b"\x89PNG")


def test_the_wrong_crosswalk_is_an_error(files: Path) -> None:
    (files / "gem.txt").write_text("A000  0010    10000\n")
    with pytest.raises(
        UserError, match=r"gem\.txt: maps none of the codes .* use the one of .* that maps ICD-9 to ICD-10"
    ):
        read_systems(TASK, files)


def test_the_files_of_cms_are_read(dev_data: Path) -> None:
    task = CodesTask(
        kind="codes",
        icd9="codes/cms/CMS32_DESC_LONG_DX.txt.gz",
        icd10="codes/cms/icd10cm-codes-2024.txt.gz",
        crosswalk="codes/cms/icd9toicd10cmgem.csv.gz",
    )
    systems = read_systems(task, dev_data)
    assert len(systems.icd9) == 4000
    assert len({code.chapter for code in systems.icd9}) == 19
    assert len({code.chapter for code in systems.icd10}) == 21  # no equivalent is among U00 to U85
    diabetes = [n for n, code in enumerate(systems.icd9) if code.code.startswith("250")]
    assert {systems.icd10[o].chapter for n in diabetes for o in systems.equivalents[n]} == {"Endocrine"}


def test_only_codes_that_a_data_set_holds_out_are_scored(files: Path) -> None:
    """Those of which neither the table nor the walks of the data set have a passage in training."""
    tabular = "".join(
        f"<section><desc>Block ({block}0-{block}9)</desc>"
        + "".join(f"<diag><name>{block}{n}</name><desc>Disorder {block}{n}</desc></diag>" for n in range(4))
        + "</section>"
        for block in ("A0", "A1", "B0", "C0", "C1", "E1", "Y9")
    )
    path = files / "tabular.xml"
    path.write_text(f"<ICD10CM.tabular><chapter><desc>All (A00-Y99)</desc>{tabular}</chapter></ICD10CM.tabular>")
    (files / "gem.txt").write_text("0010  A00     10000\n0020  B01     10000\n")
    settings = HeldOutCodes(split_by="block", share=0.4, seed=3)
    task = TASK.model_copy(update={"icd10": "tabular.xml", "codes": 100, "held_out": settings})
    systems = read_systems(task, files)
    assert systems.held_out is not None
    scored = {systems.icd10[index].code for index in systems.held_out}
    assert {code[:2] for code in scored} < {code.code[:2] for code in systems.icd10}
    values = {"name": "w", "format": "ontology", "system": "icd10cm", "paths": [str(path)], "licence": "", "words": 40}
    walks = OntologySource.model_validate({**values, "split_by": "block"})
    texts = {
        held_out: "".join(
            document.text for document in read(walks) if is_held_out(document, "block", 0.4, 3) == held_out
        )
        for held_out in (True, False)
    }
    for code in systems.icd10:
        assert (f"{code.description} is" in texts[True] or f" {code.description}" in texts[True]) == (
            code.code in scored
        )
        assert (f"({code.code})" in texts[False]) == (code.code not in scored)

    vectors = np.random.default_rng(0).normal(size=(len(systems.icd9) + len(systems.icd10), 8)).astype(np.float32)
    scores = structure(systems, lambda texts: vectors)
    assert set(scores) == {
        f"icd10 {kind} {name}" for kind in ("description", "bare") for name in ("purity", "silhouette")
    }
    every = structure(systems._replace(held_out=list(range(len(systems.icd10)))), lambda texts: vectors)
    for name, score in scores.items():
        assert score.units[:, 0].tolist() == every[name].units[systems.held_out, 0].tolist()
    with pytest.raises(UserError, match=r"none of the .* sampled codes is held out; raise task\.codes"):
        read_systems(task.model_copy(update={"held_out": settings.model_copy(update={"share": 1e-9})}), files)
