"""Throughput of each stage of `cmbert data prepare` on one core, for the first file of every source of a recipe.

    python benchmarks/prepare.py my-data.yaml [--documents 20000]
    python benchmarks/prepare.py --scale [--tokens 16000000]

Times are processor time, in one process without threads; nothing is kept. `tokenizers alone` is what tokenizing costs
without the extra `fast`, measured in the same run. `--scale` needs no recipe: it finds many small files, divides large
ones, and prepares a corpus of so many tokens to measure what remains serial.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TypeVar

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # read when tokenizers is imported
os.environ["RAYON_NUM_THREADS"] = "1"

import numpy as np

from clinical_modernbert.benchmarks.prepare_scale import measure
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.streaming_data.corpora.readers import AnySource, input_files, read_file
from clinical_modernbert.streaming_data.phi.patterns import PhiAudit
from clinical_modernbert.streaming_data.prepare.chunking import Segment, cut_into_segments
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.minhash import band_hashes, bands_for
from clinical_modernbert.streaming_data.prepare.packing import plan_packs
from clinical_modernbert.streaming_data.shards.mds import PackWriter
from clinical_modernbert.streaming_data.shards.pack import Pack
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

SIMILARITY = 0.8
BATCH = 256
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, nargs="?")
    parser.add_argument("--scale", action="store_true", help="discovery, ranges and the serial share")
    parser.add_argument("--tokens", type=int, default=16_000_000, help="of the corpus of --scale")
    parser.add_argument("--tokenizer", type=Path, help="for --scale; without one, a small one is trained")
    parser.add_argument("--documents", type=int, default=20_000, help="maximum per file")
    options = parser.parse_args()
    if options.scale:
        measure(options.tokens, options.tokenizer)
        return
    if options.recipe is None:
        parser.error("expected a recipe, or --scale")
    config = load(PrepareConfig, options.recipe)
    tokenizer = tokenizers.load(config.tokenizer)
    for source in config.sources:
        report(source, tokenizer, config, options.documents)


def report(source: AnySource, tokenizer: LoadedTokenizer, config: PrepareConfig, limit: int) -> None:
    """Print the throughput of a source's stages in tokens per second."""
    seconds: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], T]) -> T:
        begin = time.process_time()
        result = work()
        seconds[stage] = time.process_time() - begin
        return result

    file = input_files(source)[0]
    documents = timed("read and clean", lambda: list(islice(read_file(source, file), limit)))
    texts = [document.text for document in documents]
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    timed("tokenizers alone", lambda: [tokenizers.encode_by_library(tokenizer, batch) for batch in batches])
    tokenizers.encode(tokenizer, ["warm up"])
    encodings = timed("tokenize", lambda: [e for batch in batches for e in tokenizers.encode(tokenizer, batch)])
    segments = timed(
        "cut into segments",
        lambda: [
            segment
            for document, encoding in zip(documents, encodings, strict=True)
            for segment in cut_into_segments(document.id, document.text, encoding, tokenizer, config.seq_length)
        ],
    )
    bands, audit = bands_for(SIMILARITY), PhiAudit()
    timed("near-duplicate signatures", lambda: [band_hashes(batch, bands) for batch in batches])
    timed("audit", lambda: [audit.add_all(batch) for batch in batches])
    lengths = [len(segment.tokens) for segment in segments]
    plan = timed("plan packs", lambda: list(plan_packs(lengths, config.seq_length, config.window)))
    timed("write shards", lambda: write(segments, plan))
    tokens = sum(len(encoding.tokens) for encoding in encodings)
    rate = len(documents) / seconds["read and clean"]
    print(f"{source.name}: {len(documents):,} documents, {tokens:,} tokens, {rate:,.0f} documents/s read")
    for stage, spent in seconds.items():
        print(f"  {stage:28}{tokens / max(spent, 1e-9):14,.0f} tokens/s")


def write(segments: list[Segment], plan: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as directory, PackWriter(Path(directory) / "packs") as writer:
        for members in plan:
            chosen = [segments[number] for number in members]
            writer.write(
                Pack(
                    np.concatenate([one.tokens for one in chosen]),
                    np.array([len(one.tokens) for one in chosen], np.int32),
                    np.concatenate([one.word_starts for one in chosen]),
                    [one.document_id for one in chosen],
                )
            )


if __name__ == "__main__":
    run_program(main)
