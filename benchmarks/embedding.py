"""Vectors of texts of mixed lengths: `cmbert embed` and sentence-transformers, on one core, in processor time.

    python benchmarks/embedding.py [--texts 96] [--rounds 5]

Both embed the same synthetic texts with the same model, a ModernBERT of 22 million parameters with random weights, in
turns, with their own defaults for batches. Prints tokens per second of processor time, their ratio in each round, and
the largest difference of a vector.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from clinical_modernbert.configs.libraries import hide_torchvision
from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.evaluation.inference.chunks import Record
from clinical_modernbert.evaluation.inference.embeddings import open_embedder
from clinical_modernbert.evaluation.inference.sentence_layout import SentenceLayout
from clinical_modernbert.evaluation.models.model import open_model
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import save_pretrained
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.model.sentence_embedding import write_sentence_embedding
from clinical_modernbert.streaming_data.synthetic import notes
from clinical_modernbert.streaming_data.tokenizer import tokenizer

VOCAB = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    hide_torchvision()
    texts = mixed_texts(options.texts)
    with tempfile.TemporaryDirectory() as directory:
        model = write_model(Path(directory), texts)
        ours, theirs = open_ours(model, texts), open_theirs(model, texts)
        tokens, _, vectors = measure(ours)
        difference = float(np.abs(vectors - measure(theirs)[2]).max())
        speeds = [(tokens / measure(ours)[1], tokens / measure(theirs)[1]) for _ in range(options.rounds)]
    ratios = [first / second for first, second in speeds]
    result = {
        "texts": len(texts),
        "tokens": tokens,
        "ours": round(statistics.median(first for first, _ in speeds)),
        "sentence-transformers": round(statistics.median(second for _, second in speeds)),
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "largest difference": f"{difference:.1e}",
    }
    print(json.dumps(result))


def mixed_texts(count: int) -> list[str]:
    """The beginnings of notes, of 8 to 512 words: as many of 8 to 16 as of 256 to 512."""
    draw = random.Random(0)
    texts = (row["text"].split(" ") for row in islice(notes.generate(seed=1), count))
    return [" ".join(words[: round(2 ** draw.uniform(3, 9))]) for words in texts]


def write_model(directory: Path, texts: list[str]) -> Path:
    tokenizer.train(texts, VOCAB, directory / "tokenizer", max_length=8192)
    config = ModelConfig(
        vocab_size=VOCAB,
        hidden_size=384,
        intermediate_size=576,
        num_hidden_layers=12,
        num_attention_heads=6,
        pad_token_id=3,
        cls_token_id=1,
        sep_token_id=2,
    )
    torch.manual_seed(0)
    save_pretrained(MaskedLM(config).state_dict(), config, directory / "model")
    for file in (directory / "tokenizer").iterdir():
        (directory / "model" / file.name).write_bytes(file.read_bytes())
    write_sentence_embedding(config.hidden_size, config.max_position_embeddings, directory / "model")
    return directory / "model"


Embed = Callable[[], tuple[int, np.ndarray]]


def open_ours(model: Path, texts: list[str]) -> Embed:
    embedder = open_embedder(partial(open_model, str(model)), SentenceLayout(), "windows", 16_384, 0)
    records = [Record(str(number), text) for number, text in enumerate(texts)]

    def embed() -> tuple[int, np.ndarray]:
        result = embedder(records, lambda texts, tokens: None)
        vectors = np.frombuffer(result.content.partition(b"\n")[2], "<f4")
        return result.counts["tokens"], vectors.reshape(len(texts), -1)

    return embed


def open_theirs(model: Path, texts: list[str]) -> Embed:
    from sentence_transformers import SentenceTransformer

    opened = SentenceTransformer(str(model), device="cpu", trust_remote_code=False)
    return lambda: (0, opened.encode(texts))


def measure(embed: Embed) -> tuple[int, float, np.ndarray]:
    """Tokens, seconds of processor time, vectors."""
    started = time.process_time()
    tokens, vectors = embed()
    return tokens, time.process_time() - started, vectors


if __name__ == "__main__":
    run_program(main)
