"""ChemProt's files: the pairs of a sentence, their masked text, and the score."""

from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.fine_tuning.fine_tuned import FineTuned
from clinical_modernbert.evaluation.formats.annotations import AnnotatedText, Relation, Span
from clinical_modernbert.evaluation.formats.corpora.chemprot import ChemProtFiles
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.tasks.relations import (
    RelationTask,
    Truth,
    mark_names,
    read_relations,
    score_relations,
    split_sentences,
)
from clinical_modernbert.evaluation.tasks.text_task import LabeledText

from ..conftest import run_task

FILES = ChemProtFiles(abstracts="abstracts.tsv", entities="entities.tsv", relations="relations.tsv")
TASK = RelationTask(kind="relations", train=FILES, test=FILES)


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


def write_brat(directory: Path, documents: list[AnnotatedText]) -> None:
    directory.mkdir()
    for text in documents:
        lines = [f"T{n}\t{kind} {a} {b}\t{text.text[a:b]}\n" for n, (a, b, kind) in enumerate(text.spans, 1)]
        related = enumerate(text.relations, 1)
        lines += [f"R{n}\t{kind} Arg1:T{first + 1} Arg2:T{second + 1}\n" for n, (kind, first, second) in related]
        (directory / f"{text.id}.ann").write_text("".join(lines))
        (directory / f"{text.id}.txt").write_text(text.text)


def pairs(directory: Path, **fields: object) -> list[LabeledText]:
    return read_relations(TASK.model_copy(update=fields), directory).test


NAMES = [("CHEMICAL", "Aspirin"), ("GENE-Y", "COX1"), ("GENE-N", "COX2"), ("CHEMICAL", "ATP"), ("GENE-Y", "P53")]
ABSTRACT = "Aspirin inhibits COX1, not COX2. ATP was measured. P53 too."


def test_pairs_of_a_sentence_and_relations_out_of_reach(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, ABSTRACT, NAMES, [("CPR:4", 1, 2), ("CPR:2", 1, 3), ("CPR:9", 4, 2)])
    assert pairs(tmp_path) == [
        LabeledText("@CHEMICAL$ inhibits @GENE$, not COX2.", Truth(("CPR:4",)), id="1 7-14 24-28"),
        LabeledText("@CHEMICAL$ inhibits COX1, not @GENE$.", Truth(()), id="1 7-14 34-38"),
        LabeledText("", Truth(("CPR:9",), "across_sentences"), id="1 40-43 24-28"),
    ]
    assert "relations.tsv: 1 of 2 relations count as missed" in caplog.text
    reached = pairs(tmp_path, sentences=2, mark="names")
    assert "[E2] COX1 [/E2], not COX2. [E1] ATP [/E1] was measured." in reached[2].text
    assert [pair.label.relations for pair in reached if pair.label.relations] == [("CPR:4",), ("CPR:9",)]


def test_abbreviations_and_names_end_no_sentence() -> None:
    text = "Aspirin i.v. ATP rose (Dr. Lee, e.g. 2.5 fold). See vit. D. (X). It was 5 mg. and more. Y"
    spans = [Span(text.index("vit. D. (X)"), text.index("vit. D. (X)") + 11, "CHEMICAL")]
    assert [text[start:end] for start, end in split_sentences(text, spans)] == [
        "Aspirin i.v. ATP rose (Dr. Lee, e.g. 2.5 fold).",
        "See vit. D. (X).",
        "It was 5 mg. and more.",
        "Y",
    ]
    assert split_sentences("", []) == [(0, 0)]


def test_names_are_marked_in_any_order() -> None:
    text = "a fever, b lung."
    first, second = Span(11, 15, "X"), Span(2, 7, "X")
    assert mark_names(text, 2, 16, first, second, "types") == "@X2$, b @X1$."
    assert mark_names(text, 0, 16, first, second._replace(type="Y"), "types") == "a @Y$, b @X$."
    assert mark_names(text, 0, 16, first, second, "names") == "a [E2] fever [/E2], b [E1] lung [/E1]."


def test_a_pair_with_two_relations_has_both(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, ABSTRACT, NAMES, [("CPR:4", 1, 2), ("CPR:9", 1, 2), ("CPR:9", 1, 2), ("CPR:3", 1, 3)])
    splits = read_relations(TASK, tmp_path)
    assert splits.test[0].label == Truth(("CPR:4", "CPR:9"))
    assert [pair.label.relations for pair in splits.train] == [("CPR:4",), ("CPR:9",), ("CPR:3",)]
    assert "1 pairs have several relations, of which one per pair is predicted; set task.several" in caplog.text
    several = read_relations(TASK.model_copy(update={"several": True}), tmp_path)
    assert several.train == several.test == splits.test


def test_every_relation_counts_and_correct_pairs_without_relation_do_not() -> None:
    outcomes = [
        (["a"], ["a"], ""), (["b"], ["a"], ""), ([], [], ""), ([], ["c"], ""), (["a", "c"], ["c"], ""),
        (["b"], [], "across_sentences"), (["b", "c"], [], "overlapping"),
    ]  # fmt: skip
    records = [{"labels": t, "predictions": p, "out_of_reach": reason} for t, p, reason in outcomes]
    scores = score_relations(records)
    assert scores["precision"] == pytest.approx(2 / 4)
    assert scores["recall"] == pytest.approx(2 / 7)
    assert scores["f1_within_reach"] == pytest.approx(2 * 2 / (4 + 4))
    assert (scores["across_sentences"], scores["overlapping"]) == (1, 2)
    assert scores["f1 a"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))


@pytest.mark.slow
@pytest.mark.parametrize("several", [False, True])
def test_relations_of_annotated_documents_are_learned(
    several: bool, ours: EvaluatedModel, tmp_path: Path, quick: Protocol
) -> None:
    """Names of one type, related in the order of the words: `aspirin acute lung`, and also X if it is `left`."""
    documents = []
    for number in range(40):
        names = ("aspirin", "lung") if number % 2 else ("lung", "aspirin")
        text = f"{'left' if number % 4 > 1 else 'right'} {names[0]} acute {names[1]}."
        spans = [Span(text.index(name), text.index(name) + len(name), "THING") for name in sorted(names)]
        relations = [Relation("ACT", number % 2 ^ 1, number % 2)] + [Relation("X", 0, 1)] * (number % 4 > 1)
        documents.append(AnnotatedText(f"d{number}", text, spans, None, "", relations))
    for name in ("train", "test"):
        write_brat(tmp_path / name, documents)
    task = RelationTask(kind="relations", train="train", test="test", mark="names", several=several)
    if several:
        task = task.model_copy(update={"development": "train"})
    outcome = run_task(ours, task, tmp_path, quick.model_copy(update={"epochs": 20}))
    assert outcome.scores["f1" if several else "f1 ACT"] > 0.9
    assert len(outcome.records) == 80
    assert isinstance(outcome.fine_tuned, FineTuned)
    assert bool(outcome.fine_tuned.tuned) == several
    twice = sum(len(record["predictions"]) > 1 for record in outcome.records)
    assert twice > 5 if several else twice == 0


def test_relations_are_learned(ours: EvaluatedModel, tmp_path: Path, quick: Protocol) -> None:
    sentences, names, relations = [], [], []
    for number in range(80):
        verb, group = [("acute", "CPR:4"), ("chronic", None)][number % 2]
        sentences.append(f"{'The aspirin' if number % 4 else 'Left aspirin'} {verb} lung.")
        names += [("CHEMICAL", "aspirin"), ("GENE-Y", "lung")]
        if group:
            relations.append((group, 2 * number + 1, 2 * number + 2))
    write(tmp_path, " ".join(sentences), names, relations)
    scores = run_task(ours, TASK, tmp_path, quick).scores
    assert scores["f1"] > 0.95
    assert scores["across_sentences"] == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("abstracts.tsv", "1\tsecret\n", r"abstracts\.tsv: line 1 has 2 columns; expected 3: article, title, abstract"),
        ("entities.tsv", "1\tT1\tGENE\t9\t4\tsecret\n", r"entities\.tsv: line 1: start and end"),
        (
            "entities.tsv",
            "1\tT1\tGENE\t4\t999\tsecret\n1\tT2\tGENE\t1\t2\tx\n",
            r"entities\.tsv: T1 of article 1 ends after",
        ),
        ("entities.tsv", "", r"relations\.tsv: line 1: an entity of the relation is not in the file of entities"),
        ("relations.tsv", "1\tCPR:3\tY\tA\tT1\tT2\n", r"relations\.tsv: line 1: expected article"),
        ("relations.tsv", "1\tCPR:3\tY\tA\tArg1:T1\tArg2:T9\n", r"relations\.tsv: line 1: an entity of the relation"),
        ("relations.tsv", "1\tCPR:2\tY\tA\tArg1:T1\tArg2:T2\n", r"no pair of names within a sentence has one of"),
    ],
)
def test_errors_in_files_do_not_show_their_text(name: str, content: str, message: str, tmp_path: Path) -> None:
    names = [("CHEMICAL", "aspirin"), ("GENE-Y", "lung")]
    write(tmp_path, "Secret aspirin and lung.", names, [("CPR:3", 1, 2)])
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_relations(TASK, tmp_path)
    assert "ecret" not in str(error.value)
