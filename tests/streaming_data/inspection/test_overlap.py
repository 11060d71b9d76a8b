"""The n-grams of texts that a data set holds are those that Python's sets of words find in its documents."""

import re
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.inspection import overlap as module
from clinical_modernbert.streaming_data.inspection.overlap import Overlap, overlap
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

N = 6
Runs = set[tuple[str, ...]]


def silent(done: int, total: int, counted: int) -> None:
    pass


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def runs(parts: list[str]) -> list[tuple[str, ...]]:
    """Every n-gram of the parts; a part of fewer words is one."""
    split = [words(part) for part in parts]
    return [tuple(one[i:][:N]) for one in split for i in range(max(1, len(one) - N + 1)) if one]


def every_run(documents: list[str]) -> Runs:
    split = [words(document) for document in documents]
    return {tuple(one[i : i + n]) for one in split for n in range(1, N + 1) for i in range(len(one) - n + 1)}


@pytest.fixture(scope="module")
def sources(notes: list[str]) -> dict[str, list[str]]:
    return {"notes": notes[:30], "letters": [f"Dear {n}, {note[:700]}" for n, note in enumerate(notes[30:50])]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tokenizer: LoadedTokenizer, sources: dict[str, list[str]]) -> Path:
    root: Path = tmp_path_factory.mktemp("overlap")
    entries: list[dict[str, Any]] = []
    for name, documents in sources.items():
        (root / f"{name}.csv").write_text(
            "patient,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(documents))
        )
        entries.append(
            {
                "name": name,
                "format": "table",
                "paths": [str(root / f"{name}.csv")],
                "licence": "",
                "split_by": "patient",
            }
        )
    config = {"output": root / "data", "tokenizer": tokenizer.directory, "sources": entries, "workers": 1}
    config |= {"seq_length": 4096, "held_out": 0}
    prepare(PrepareConfig.model_validate(config), lambda stage: silent)
    return root / "data"


@pytest.fixture(scope="module")
def texts(notes: list[str]) -> list[list[str]]:
    """Excerpts as they are and rewritten, parts of them among other words, other notes, short ones, and none."""
    rng = Random(3)
    found: list[list[str]] = [[]]
    for note in [*notes[:8], *notes[30:34], *notes[100:104]]:
        split = note.split()
        start = rng.randrange(max(1, len(split) - 40))
        excerpt = split[start : start + 40]
        found += [
            [" ".join(excerpt)],
            [" ".join(excerpt).upper().replace(".", " . ").replace(",", " , ")],
            [" ".join([*excerpt[:15], "unheard", "of", *excerpt[15:20], "nowhere"])],
            [" ".join(excerpt[:10]), " ".join(reversed(excerpt))],
            [" ".join(excerpt[: rng.randrange(1, N)])],
            [" ".join(reversed(excerpt[:4]))],
        ]
    return found


def test_shares_are_those_of_sets_of_words(
    data: Path, sources: dict[str, list[str]], texts: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RANGE", 1)
    monkeypatch.setattr(module, "_PACKS", 2)
    monkeypatch.setattr(module, "_TEXTS", 7)
    result = overlap(str(data), texts, N, 1, silent)
    assert result.words.tolist() == [max((len(words(part)) for part in text), default=0) for text in texts]
    of_source = {name: every_run(documents) for name, documents in sources.items()}
    for shares, held in [
        *((result.sources[name], held) for name, held in of_source.items()),
        (result.all, set.union(*of_source.values())),
    ]:
        expected = [sum(run in held for run in runs(text)) / len(runs(text)) if text else np.nan for text in texts]
        np.testing.assert_array_equal(shares, expected)
    assert {0.0, 1.0} < set(result.all[1:].tolist())  # so that it is not one answer for all


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_processes(
    data: Path, texts: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RANGE", 1)

    def flat(result: Overlap) -> Any:
        return [array.tobytes() for array in (result.words, result.all, *result.sources.values())]

    assert flat(overlap(str(data), texts, N, 2, silent)) == flat(overlap(str(data), texts, N, 1, silent))


def test_no_texts_and_no_data_set(data: Path, tmp_path: Path) -> None:
    empty = overlap(str(data), [], N, 1, silent)
    assert len(empty.all) == len(empty.words) == 0
    with pytest.raises(UserError, match=r"manifest\.json"):
        overlap(str(tmp_path), [["any"]], N, 1, silent)
