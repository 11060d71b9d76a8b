"""`cmbert data overlap` finds exactly the test texts that were planted in a data set, and shows none of them."""

import json
import re
from pathlib import Path
from random import Random

import numpy as np
import pytest
from small_data import CLS, SEP, VOCAB, write_small_data
from typer.testing import CliRunner, Result

from clinical_modernbert.launcher.cli import app
from clinical_modernbert.streaming_data.shards.mds import PackWriter
from clinical_modernbert.streaming_data.shards.pack import Pack

WORDS = [f"w{number}" for number in range(5, VOCAB)]
NER = "name: names\ndata: {}\ntask: {{kind: ner, train: train.tsv, test: test.tsv}}\n"
PAIRS = """
name: pairs
data: {}
task: {{kind: classification, train: train.jsonl, test: test.jsonl, pair: question}}
"""
PLANTED, HALF, SHORT, HELD_OUT = 7, 11, 15, 19


def cmbert(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), terminal_width=200)


def write_packs(directory: Path, texts: list[list[str]]) -> dict[str, int]:
    with PackWriter(directory) as writer:
        for number, text in enumerate(texts):
            tokens = np.array([CLS, *(int(word[1:]) for word in text), SEP], np.uint16)
            writer.write(Pack(tokens, np.array([len(tokens)], np.int32), tokens >= 5, [str(number)]))
    return {"packs": len(texts), "tokens": sum(map(len, texts))}


@pytest.fixture(scope="module")
def sentences() -> list[list[str]]:
    rng = Random(7)
    return [rng.choices(WORDS, k=rng.randrange(20, 40)) for _ in range(24)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sentences: list[list[str]]) -> Path:
    """A data set of random words in which test sentences are planted, and two tasks with these sentences."""
    root: Path = tmp_path_factory.mktemp("overlap")
    rng = Random(8)
    filler = [rng.choices(WORDS, k=200) for _ in range(12)]
    filler[3][40:40] = sentences[PLANTED]
    filler[5][90:90] = sentences[HALF][: len(sentences[HALF]) * 3 // 4]
    sentences[SHORT][5:] = []
    filler[6][20:20] = sentences[SHORT]
    data = write_small_data(root / "data", packs=4)
    manifest = json.loads((data / "manifest.json").read_text())
    for name, part in (("first", filler[:5]), ("second", filler[5:])):
        splits = {"train": write_packs(data / name / "train", part)}
        splits["held_out"] = write_packs(data / name / "held_out", [sentences[HELD_OUT]])
        manifest["sources"][name] = {"synthetic": True, "splits": splits}
    (data / "manifest.json").write_text(json.dumps(manifest))

    def iob(of: list[list[str]]) -> str:
        rows = ["".join(f"{word}\t{'BO'[n > 0]}{'-X' * (n == 0)}\n" for n, word in enumerate(s)) for s in of]
        return "\n".join(rows)

    (root / "test.tsv").write_text(iob(sentences))
    (root / "train.tsv").write_text(iob([sentences[0]]))
    (root / "ner.yaml").write_text(
        f"name: names\ndata: {root}\ntask: {{kind: ner, train: train.tsv, test: test.tsv}}\n"
    )
    pairs = [
        {"question": " ".join(first), "text": " ".join(second), "label": number % 2}
        for number, (first, second) in enumerate(zip(sentences[::2], sentences[1::2], strict=True))
    ]
    for split in ("train", "test"):
        (root / f"{split}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (root / "pairs.yaml").write_text(PAIRS.format(root))
    return root


@pytest.mark.slow
def test_finds_exactly_what_was_planted(folder: Path, sentences: list[list[str]]) -> None:
    out = folder / "out.json"
    arguments = ["--task", str(folder / "ner.yaml"), "--task", str(folder / "pairs.yaml"), "--out", str(out)]
    result = cmbert("data", "overlap", str(folder / "data"), *arguments, "--workers", "1")
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    assert report["words"] == 13
    test = report["tasks"]["names"]["test"]
    grams = len(sentences[HALF]) - 12
    share = (len(sentences[HALF]) * 3 // 4 - 12) / grams
    assert test["found"] == {str(PLANTED + 1): 1.0, str(HALF + 1): round(share, 4), str(SHORT + 1): 1.0}
    counts = {"texts": 23, "any": 2, "over_50": 2 if share > 0.5 else 1, "over_80": 1, "short": 1, "short_found": 1}
    assert {name: test[name] for name in counts} == counts
    assert test["sources"]["first"] == {**counts, "any": 1, "over_50": 1, "short_found": 0}
    assert test["sources"]["second"]["over_80"] == 0
    assert report["tasks"]["names"]["train"]["found"] == {}
    # A pair is one text: its number, and the n-grams of both of its parts.
    assert {"4", "6"} == set(report["tasks"]["pairs"]["test"]["found"]) - {"8"}
    assert report["tasks"]["pairs"]["test"]["found"]["4"] < 1
    assert not re.search(r"\bw\d", out.read_text() + result.output)
    assert "names" in result.output
    assert "1 (4.3%)" in result.output


def test_what_cannot_be_compared_is_reported_before_the_search(folder: Path) -> None:
    (folder / "masked.yaml").write_text("name: masked\ndata: nowhere\ntask: {kind: masked_words}\n")
    (folder / "gone.yaml").write_text((folder / "ner.yaml").read_text().replace("test.tsv", "gone.tsv"))
    arguments = ["--task", str(folder / "masked.yaml"), "--task", str(folder / "gone.yaml")]
    result = cmbert("data", "overlap", str(folder / "absent"), *arguments, "--out", str(folder / "none.json"))
    message = str(result.exception)
    assert "a task of the kind masked_words has no test texts" in message
    assert "gone.tsv: no such file" in message
    assert "absent/manifest.json" in message
    assert not (folder / "none.json").exists()
