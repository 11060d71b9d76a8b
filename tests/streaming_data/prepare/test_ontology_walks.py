"""Walks over ontologies in a data set: the same bytes from any processes and shares, and each fact in one split."""

import json
from pathlib import Path
from typing import Any

import pytest

from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.evaluation.suite import Evaluation
from clinical_modernbert.evaluation.tasks.code_structure import CodesTask, HeldOutCodes
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.documents.document import is_held_out
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare, prepare_share
from clinical_modernbert.streaming_data.prepare.tasks import Share
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer
from clinical_modernbert.training.recipe.config import RunConfig


def silent(stage: str) -> Any:
    return lambda done, total, counted: None


def tabular(chapters: int) -> str:
    """Blocks of two categories, each with subcategories and notes that point to the others."""
    parts = []
    for chapter in range(chapters):
        letter = chr(ord("A") + chapter)
        blocks = ""
        for block in range(5):
            codes = ""
            for category in (f"{letter}{block}0", f"{letter}{block}1"):
                below = "".join(
                    f"<diag><name>{category}.{n}</name><desc>{category} of kind {n}</desc><inclusionTerm><note>"
                    f"inclusion {category}-{n}</note></inclusionTerm></diag>"
                    for n in range(4)
                )
                codes += (
                    f"<diag><name>{category}</name><desc>Disorder {category}</desc><excludes1><note>exclusion of "
                    f"{category} (A01.1)</note></excludes1>{below}</diag>"
                )
            blocks += (
                f"<section><desc>Block {letter}{block} ({letter}{block}0-{letter}{block}1)</desc>{codes}</section>"
            )
        parts.append(f"<chapter><desc>Chapter {letter} ({letter}00-{letter}49)</desc>{blocks}</chapter>")
    return f"<ICD10CM.tabular>{''.join(parts)}</ICD10CM.tabular>"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: LoadedTokenizer) -> PrepareConfig:
    folder: Path = tmp_path_factory.mktemp("ontologies")
    (folder / "tabular.xml").write_text(tabular(6))
    headings = [f"Heading {n}-{k};C{n:02}{f'.{k}' * (k > 99)}" for n in range(1, 30) for k in (0, 100, 200)]
    (folder / "mtrees.bin").write_text("\n".join(headings))
    terms = "".join(
        f'\n[Term]\nid: HP:{n:07}\nname: Term {n}\ndef: "Definition {n}." []\nis_a: HP:{n // 3:07} ! parent\n'
        for n in range(1, 120)
    )
    (folder / "hp.obo").write_text(
        f"format-version: 1.2\n\n[Term]\nid: HP:0000000\nname: All\n{terms}\n[Term]\nid: HP:9999999\nname: old\n"
        "is_obsolete: true\n"
    )
    common = {"format": "ontology", "licence": "own", "words": 60, "walks_per_node": 2, "split_by": "block"}
    values = {
        "output": folder / "data",
        "tokenizer": tokenizer.directory,
        "seq_length": 512,
        "held_out": 0.2,
        "workers": 1,
        "sources": [
            {"name": "icd", "system": "icd10cm", "paths": [str(folder / "tabular.xml")], **common},
            {"name": "mesh", "system": "mesh", "paths": [str(folder / "mtrees.bin")], **common},
            {"name": "hpo", "system": "hpo", "paths": [str(folder / "hp.obo")], **common},
        ],
    }
    return PrepareConfig.model_validate(values)


def content(directory: Path) -> dict[str, bytes]:
    """All files but the manifest, which names `output`, and what it says of the sources."""
    files = {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    manifest = json.loads(files.pop("manifest.json"))
    return files | {"sources": json.dumps(manifest["sources"]).encode()}


@pytest.mark.slow
def test_any_number_of_processes_and_shares_gives_the_same_bytes(base: PrepareConfig, tmp_path: Path) -> None:
    prepare(base, silent)
    reference = content(base.output)
    assert b"obsolete terms" in reference["sources"]
    assert all(any(name.startswith(f"{source}/held_out/") for name in reference) for source in ("icd", "mesh", "hpo"))
    for workers in (2, 3):
        config = base.model_copy(update={"output": tmp_path / f"workers-{workers}", "workers": workers})
        prepare(config, silent)
        assert content(config.output) == reference, workers
    config = base.model_copy(update={"output": tmp_path / "shares"})
    done = [prepare_share(config, Share(number, 3), silent) for number in (2, 0)]  # one never ran
    assert done == [1, 1]
    prepare(config, silent)
    assert content(config.output) == reference


def test_what_is_held_out_is_stated_in_no_passage_of_training(base: PrepareConfig) -> None:
    held_out: set[str] = set()
    texts: dict[bool, str] = {True: "", False: ""}
    for document in read(base.sources[0]):
        held = is_held_out(document, "block", base.held_out, base.seed)
        texts[held] += document.text + "\n"
        if held and "-" not in document.meta["code"]:
            held_out.add(document.meta["code"])
    assert 10 < len(held_out) < 200
    for code in held_out:
        for said in (f"Disorder {code}", f"{code[:3]} of kind", f"exclusion of {code[:3]}", f"inclusion {code[:3]}"):
            assert said not in texts[False]
        assert code in texts[True]


def test_the_packaged_recipes_hold_out_the_same_codes() -> None:
    """Table and walks of the experiment split alike, and what the evaluation scores is what they hold out."""
    data = load(PrepareConfig, find_recipe("data/proof-ontology"))
    levels = {source.name: source.split_by for source in data.sources if source.name.startswith("icd10cm")}
    assert levels == {"icd10cm": "block", "icd10cm_walks": "block"}
    assert not any(getattr(source, "crosswalks", []) for source in data.sources)
    task = load(Evaluation, find_recipe("evaluation/codes-held-out")).task
    assert isinstance(task, CodesTask)
    assert task.held_out == HeldOutCodes(split_by="block", share=data.held_out, seed=data.seed)
    with_walks, without = (load(RunConfig, find_recipe(name)).data.weights for name in ("proof-ontology", "proof"))
    assert with_walks
    assert without
    assert with_walks.keys() == {source.name for source in data.sources}
    assert with_walks.keys() - without.keys() == {"icd10cm_walks"}
    assert with_walks["pubmed"] / sum(with_walks.values()) == pytest.approx(without["pubmed"] / sum(without.values()))
    assert load(PrepareConfig, find_recipe("data/ontology")).sources
