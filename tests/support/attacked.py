"""A data set of made-up notes, and a model that has learned its training notes by heart."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clinical_modernbert.evaluation.models.model import packed_model
from clinical_modernbert.evaluation.privacy.scorer import Scorer, open_scorer
from clinical_modernbert.evaluation.tasks.masked_words import data_vocabulary
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.corpora.tables import TableSource
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.shards.manifest import DataManifest, read_manifest
from clinical_modernbert.streaming_data.shards.mds import PackReader
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

VOCAB = 1024


def word(random: np.random.Generator) -> str:
    """A word that no dictionary has."""
    return "".join(random.choice(list("bdfgklmnprstvz")) + random.choice(list("aeiou")) for _ in range(3))


def note(random: np.random.Generator, words: list[str]) -> str:
    """40 words in no order, so that they can be learned by heart only, with two names and a date."""
    first, second, third = (str(random.choice(words)).capitalize() for _ in range(3))
    chosen = [str(random.choice(words)) for _ in range(40)]
    date = f"{random.integers(1, 13)}/{random.integers(1, 29)}/20{random.integers(10, 25)}"
    return " ".join(["Mrs.", first, second, *chosen[:20], "Dr.", third, *chosen[20:30], "on", date, *chosen[30:]])


def write_notes(directory: Path, patients: int, ids: str = "{patient}-DS-{number}", seed: int = 0) -> Path:
    """A data set of two notes per patient, half of the patients held out; next to it the table that it is from."""
    random = np.random.default_rng(seed)
    words = [word(random) for _ in range(120)]
    rows = [
        {
            "id": ids.format(patient=7000 + patient, number=number),
            "patient": 7000 + patient,
            "text": note(random, words),
        }
        for patient in range(patients)
        for number in range(2)
    ]
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "notes.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizers.train([str(row["text"]) for row in rows], VOCAB, directory / "tokenizer", max_length=256)
    source = TableSource(
        name="notes", format="table", paths=[str(file)], id="id", split_by="patient", licence="made by the tests"
    )
    config = PrepareConfig(
        output=directory / "data", tokenizer=directory / "tokenizer", sources=[source], seq_length=256, held_out=0.5,
        workers=1,
    )  # fmt: skip
    prepare(config, lambda stage: lambda *counts: None)
    return directory / "data"


def words_of(data: Path) -> set[str]:
    """The words and dates of all notes of a data set, in lower case."""
    rows = [json.loads(line) for line in (data.parent / "notes.jsonl").read_text().splitlines()]
    return {word.lower() for row in rows for word in row["text"].split() if len(word) > 4}


def model_of(manifest: DataManifest) -> MaskedLM:
    ids = manifest.tokenizer.special_ids
    model = MaskedLM(
        ModelConfig(
            vocab_size=manifest.tokenizer.vocab_size, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=256, pad_token_id=ids.pad, cls_token_id=ids.cls,
            sep_token_id=ids.sep, initializer_range=0.07,
        )
    )  # fmt: skip
    initialize(model, seed=0)
    return model


def learn(model: MaskedLM, data: Path, steps: int) -> MaskedLM:
    """Train on all training packs at once, with 40 % of the tokens masked anew in each step."""
    manifest = read_manifest(str(data))
    reader = PackReader(f"{data}/notes/train")
    packs = [reader[number] for number in range(len(reader))]
    tokens = torch.from_numpy(np.concatenate([pack.tokens for pack in packs]).astype(np.int64))
    batch = PackedBatch.from_lengths(np.concatenate([pack.lengths for pack in packs]).tolist(), torch.device("cpu"))
    maskable = torch.from_numpy(data_vocabulary(manifest).is_real)[tokens].nonzero()[:, 0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        positions = maskable[torch.rand(len(maskable), generator=generator) < 0.4]
        masked = tokens.clone()
        masked[positions] = manifest.tokenizer.special_ids.mask
        loss = torch.nn.functional.cross_entropy(model.logits(masked, batch, positions).float(), tokens[positions])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def scorer_of(model: MaskedLM, data: Path) -> Scorer:
    return open_scorer(packed_model(model, data / "tokenizer", "m"))


def one_by_one(scorer: Scorer) -> Scorer:
    """A scorer that computes each segment alone."""

    def logits(sequences: Sequence[torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
        ends = np.cumsum([len(sequence) for sequence in sequences]).tolist()
        parts, start = [], 0
        for sequence, end in zip(sequences, ends, strict=True):
            parts.append(scorer.logits([sequence], positions[(positions >= start) & (positions < end)] - start))
            start = end
        return torch.cat(parts)

    return replace(scorer, logits=logits)


def oracle(scorer: Scorer, answer: Callable[[torch.Tensor, int], int]) -> Scorer:
    """A scorer that is sure of the token that `answer` gives for a sequence and a position in it."""

    def logits(sequences: Sequence[torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
        ends = np.cumsum([len(sequence) for sequence in sequences])
        scores = torch.zeros(len(positions), scorer.vocab_size)
        for row, position in enumerate(positions.tolist()):
            owner = int(np.searchsorted(ends, position, side="right"))
            sequence = sequences[owner]
            scores[row, answer(sequence, position - int(ends[owner]) + len(sequence))] = 1
        return scores

    return replace(scorer, logits=logits)
