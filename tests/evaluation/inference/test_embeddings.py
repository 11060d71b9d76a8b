"""`cmbert embed`: the vectors of sentence-transformers, in order, whatever form and however often it is killed."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from embedding import kill_after_parts, mixed_texts, run_embed, write_table

from clinical_modernbert.evaluation.inference.chunks import parts_directory
from clinical_modernbert.launcher import cli
from clinical_modernbert.model.hugging_face import read_config
from clinical_modernbert.training.export.sentence_embedding import write_sentence_embedding


@pytest.fixture(scope="module")
def sentence_model(our_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small ModernBERT with the files that `cmbert export --sentence-embedding` writes."""
    directory = shutil.copytree(our_directory, tmp_path_factory.mktemp("sentence") / "model")
    write_sentence_embedding(read_config(directory), directory)
    return directory


def embed(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """Run the command in this process; its output with its errors."""
    ended = cmbert("embed", *arguments, "--workers", 1)
    captured = capsys.readouterr()
    assert ended == code, captured.out + captured.err
    return captured.out + captured.err


def cmbert(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cmbert", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return int(ended.value.code or 0)


def read_parquet(path: Path) -> tuple[list[str], np.ndarray]:
    from pyarrow import parquet

    table = parquet.read_table(path)
    assert table.column_names == ["id", "vector"]
    return table["id"].to_pylist(), np.array(table["vector"].to_pylist(), np.float32)


@pytest.mark.slow
def test_killed_with_two_processes_it_writes_what_one_writes(
    sentence_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """10,000 texts, kill -9 of all processes after the first part; the vectors are those of another library."""
    from sentence_transformers import SentenceTransformer

    texts = mixed_texts(10_000)
    table = write_table(tmp_path / "texts.jsonl", texts)
    arguments = (sentence_model, table, "--id", "note", "--out")
    embed(capsys, *arguments, tmp_path / "one.parquet")
    two = tmp_path / "two.parquet"
    kill_after_parts(parts_directory(two), 1, *arguments, two, "--workers", 2)
    assert not two.exists()
    output = run_embed(*arguments, two, "--workers", 2)
    assert re.search(r"continuing: [1-9][\d,]* of 10,000 texts are there", output)
    assert two.read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"texts.jsonl", "one.parquet", "two.parquet"}
    ids, vectors = read_parquet(two)
    assert ids == [f"n{number}" for number in range(10_000)]
    chosen = range(0, 10_000, 25)
    expected = SentenceTransformer(str(sentence_model), device="cpu").encode([texts[number] for number in chosen])
    np.testing.assert_allclose(vectors[list(chosen)], expected, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "normalize"), [("cls", True), ("mean", False)])
def test_the_layout_of_sentence_transformers_is_followed(
    pooling: str, normalize: bool, our_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that sentence-transformers saved: without a head, with its pooling, its prompt and its length."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    transformer = Transformer(str(our_directory), max_seq_length=24)
    modules = [transformer, Pooling(32, pooling), *([Normalize()] if normalize else [])]
    theirs = SentenceTransformer(
        modules=modules, device="cpu", prompts={"query": "chronic pain "}, default_prompt_name="query"
    )
    theirs.save(str(tmp_path / "model"))
    texts = [*mixed_texts(40), " fever\n  cough\t", "Aspirin FEVER"]
    table = write_table(tmp_path / "texts.jsonl", texts)
    output = embed(capsys, tmp_path / "model", table, "--out", tmp_path / "out.npy", "--long", "cut")
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), theirs.encode(texts), atol=2e-5)
    assert re.search(r"\d+ texts were longer than the model: cut", output)


@pytest.mark.slow
def test_every_form_gives_the_same_vectors_and_no_text(
    sentence_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    texts = mixed_texts(30)
    write_table(tmp_path / "a.jsonl", texts)
    (tmp_path / "a.csv").write_text("note,text\n" + "".join(f"n{n},{text}\n" for n, text in enumerate(texts)))
    (tmp_path / "a.tsv").write_text("note\ttext\n" + "".join(f"n{n}\t{text}\n" for n, text in enumerate(texts)))
    parquet.write_table(pa.table({"note": [f"n{n}" for n in range(30)], "text": texts}), tmp_path / "a.parquet")
    (tmp_path / "files").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / f"files/n{number:02}.txt").write_text(text)
    found: dict[str, tuple[list[str], np.ndarray]] = {}
    for form in ("a.jsonl", "a.csv", "a.tsv", "a.parquet", "files"):
        out = tmp_path / f"{form}.out.parquet"
        output = embed(capsys, sentence_model, tmp_path / form, "--out", out, *(["--id", "note"] * (form != "files")))
        assert not any(text in output for text in texts if " " in text)
        found[form] = read_parquet(out)
    ids, vectors = found["a.jsonl"]
    assert ids == [f"n{number}" for number in range(30)]
    for form, (others, same) in found.items():
        assert others == ([f"n{number:02}.txt" for number in range(30)] if form == "files" else ids)
        assert (same == vectors).all(), form
    for suffix in ("jsonl", "npy"):
        embed(capsys, sentence_model, tmp_path / "a.csv", "--out", tmp_path / f"b.{suffix}")
    lines = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"a.csv:{number}" for number in range(1, 31)]
    assert (np.array([line["vector"] for line in lines], np.float32) == vectors).all()
    assert (np.load(tmp_path / "b.npy") == vectors).all()
    assert json.loads((tmp_path / "b.ids.jsonl").read_text().splitlines()[4]) == "a.csv:5"
    assert "fever" not in "".join(path.read_text("latin-1") for path in tmp_path.glob("*out.parquet"))


@pytest.mark.slow
def test_segments_of_a_data_set(our_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tokens are those of the packs: a document has the vector that its text has."""
    texts = mixed_texts(30, longest=80)
    write_table(tmp_path / "texts.jsonl", texts)
    source = {"name": "notes", "format": "table", "licence": "own", "split_by": "note", "id": "note"}
    recipe = {
        "sources": [source | {"paths": [str(tmp_path / "texts.jsonl")]}],
        "tokenizer": str(our_directory),
        "output": str(tmp_path / "packs"),
        "seq_length": 128,
        "held_out": 0.3,
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    assert cmbert("data", "prepare", tmp_path / "recipe.yaml") == 0
    embed(capsys, our_directory, tmp_path / "packs", "--out", tmp_path / "a.parquet")
    embed(capsys, our_directory, tmp_path / "texts.jsonl", "--id", "note", "--out", tmp_path / "b.parquet")
    segments, documents = (dict(zip(*read_parquet(tmp_path / f"{name}.parquet"), strict=True)) for name in "ab")
    assert len(segments) >= 25  # duplicates are dropped
    for name, vector in segments.items():
        np.testing.assert_allclose(vector, documents[name.removeprefix("notes/")], atol=2e-5)


@pytest.mark.slow
def test_every_mistake_is_one_error_without_text(
    sentence_model: Path, bert_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"text": "secret pain"}), json.dumps({"text": 5})]
    (tmp_path / "bad.jsonl").write_text("\n".join(lines))
    (tmp_path / "columns.csv").write_text("note,body\n1,secret pain\n")
    (tmp_path / "image.png").touch()
    (tmp_path / "there.npy").touch()
    dense = tmp_path / "dense"
    dense.mkdir()
    for file in bert_directory.iterdir():
        (dense / file.name).write_bytes(file.read_bytes())
    (dense / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]')
    new = tmp_path / "new.npy"
    for arguments, words in (
        ((sentence_model, tmp_path / "bad.jsonl", "--out", new), "bad.jsonl: line 2: text is of the type int"),
        ((sentence_model, tmp_path / "columns.csv", "--out", new), "columns.csv: no column text"),
        (
            (sentence_model, tmp_path / "image.png", "--out", new),
            "image.png: not a table and not a text; expected",
        ),
        ((sentence_model, tmp_path / "none.csv", "--out", new), "none.csv: no such file"),
        ((sentence_model, tmp_path / "bad.jsonl", "--out", tmp_path / "there.npy"), "there.npy: exists already"),
        ((sentence_model, tmp_path / "bad.jsonl", "--out", "a.xlsx"), "a.xlsx: its name ends in none of .parquet"),
        ((tmp_path, tmp_path / "bad.jsonl", "--out", new), "no readable config.json"),
        ((dense, tmp_path / "columns.csv", "--text", "body", "--out", new), "the module Dense is not supported"),
    ):
        output = " ".join(embed(capsys, *arguments, code=2).split())
        assert words in output
        assert output.count("error:") == 1
        assert "secret" not in output
    assert not new.exists()
    assert not parts_directory(new).exists()
