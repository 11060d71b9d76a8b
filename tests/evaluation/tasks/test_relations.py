"""ChemProt's files: the pairs of a sentence, their masked text, and the score."""

from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.tasks.classification import LabeledText
from clinical_modernbert.evaluation.tasks.relations import (
    ChemProtFiles,
    RelationTask,
    read_chemprot,
    score_relations,
)

from ..conftest import run_task

FILES = ChemProtFiles(abstracts="abstracts.tsv", entities="entities.tsv", relations="relations.tsv")
FIVE = ("CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9")


def write(directory: Path, abstract: str, names: list[tuple[str, str]], relations: list[tuple[str, int, int]]) -> None:
    """One article `1` with the title `Title.`; names are (kind, name) of the abstract, in order."""
    text, offset = f"Title. {abstract}", 0
    lines = []
    for number, (kind, name) in enumerate(names, 1):
        offset = text.index(name, offset)
        lines.append(f"1\tT{number}\t{kind}\t{offset}\t{offset + len(name)}\t{name}\n")
        offset += len(name)
    (directory / "abstracts.tsv").write_text(f"1\tTitle.\t{abstract}\n")
    (directory / "entities.tsv").write_text("".join(lines))
    (directory / "relations.tsv").write_text(
        "".join(f"1\t{group}\tY \tNAME\tArg1:T{first}\tArg2:T{second}\n" for group, first, second in relations)
    )


def test_pairs_of_a_sentence(tmp_path: Path) -> None:
    names = [("CHEMICAL", "Aspirin"), ("GENE-Y", "COX1"), ("GENE-N", "COX2"), ("CHEMICAL", "ATP"), ("GENE-Y", "P53")]
    relations = [("CPR:4", 1, 2), ("CPR:2", 1, 3), ("CPR:9", 4, 2)]
    write(tmp_path, "Aspirin inhibits COX1, not COX2. ATP was measured. P53 too.", names, relations)
    examples, across_sentences = read_chemprot(tmp_path, FILES, FIVE)
    assert examples == [
        LabeledText("@CHEMICAL$ inhibits @GENE$, not COX2.", "CPR:4", id="1 T1 T2"),
        LabeledText("@CHEMICAL$ inhibits COX1, not @GENE$.", "none", id="1 T1 T3"),
    ]
    assert across_sentences == 1


def test_correct_pairs_without_relation_do_not_count() -> None:
    labels = ["CPR:3", "CPR:4", "none", "none", "CPR:9"]
    predictions = ["CPR:3", "CPR:3", "none", "CPR:9", "none"]
    scores = score_relations(labels, predictions, FIVE)
    assert scores["precision"] == pytest.approx(1 / 3)
    assert scores["recall"] == pytest.approx(1 / 3)
    assert scores["f1"] == pytest.approx(1 / 3)


def test_relations_are_learned(ours: EvaluatedModel, tmp_path: Path, quick: Protocol) -> None:
    sentences, names, relations = [], [], []
    for number in range(80):
        verb, group = [("acute", "CPR:4"), ("chronic", None)][number % 2]
        sentences.append(f"{'The aspirin' if number % 4 else 'Left aspirin'} {verb} lung.")
        names += [("CHEMICAL", "aspirin"), ("GENE-Y", "lung")]
        if group:
            relations.append((group, 2 * number + 1, 2 * number + 2))
    write(tmp_path, " ".join(sentences), names, relations)
    scores = run_task(ours, RelationTask(kind="relations", train=FILES, test=FILES), tmp_path, quick).scores
    assert scores["f1"] > 0.95


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("abstracts.tsv", "1\tsecret\n", r"abstracts\.tsv: line 1 has 2 columns; expected 3: article, title, abstract"),
        ("entities.tsv", "1\tT1\tGENE\t9\t4\tsecret\n", r"entities\.tsv: line 1: start and end"),
        ("entities.tsv", "1\tT1\tGENE\t4\t999\tsecret\n", r"entities\.tsv: T1 of article 1 ends after"),
        ("entities.tsv", "", r"entities\.tsv: no chemical and gene in one sentence"),
        ("relations.tsv", "1\tCPR:3\tY\tA\tT1\tT2\n", r"relations\.tsv: line 1: expected article"),
    ],
)
def test_errors_in_files_do_not_show_their_text(name: str, content: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, "Secret aspirin and lung.", [("CHEMICAL", "aspirin"), ("GENE-Y", "lung")], [])
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_chemprot(tmp_path, FILES, FIVE)
    assert "ecret" not in str(error.value)
