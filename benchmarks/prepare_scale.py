"""`benchmarks/prepare.py --scale`: what grows with the number and size of files, and what one process must do alone.

Everything is processor time, so that a loaded machine gives the same. Sizes are small; each line states the law by
which they are extrapolated.
"""

import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

from clinical_modernbert.streaming_data import parallel
from clinical_modernbert.streaming_data.corpora.mimic_notes import COLUMNS
from clinical_modernbert.streaming_data.division.groups import group_files
from clinical_modernbert.streaming_data.division.ranges import find_spans
from clinical_modernbert.streaming_data.documents.files import list_files
from clinical_modernbert.streaming_data.prepare import pipeline
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.synthetic.notes import generate
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

FILES = 20_000
CORPUS_FILES = 2_000_000
LARGE_FILE = 20 * 10**9
CORES = (8, 64, 512)


def measure(tokens: int, tokenizer: Path | None) -> None:
    """Print all tables."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        discovery(directory / "many")
        if tokenizer is None:
            tokenizer = directory / "tokenizer"
            tokenizers.train((row["text"] for row in islice(generate(0), 500)), 4096, tokenizer)
        notes = directory / "notes.csv"
        write_notes(notes, 4 * tokens)
        ranges(notes)
        serial_share(directory, notes, tokenizer)


def discovery(directory: Path) -> None:
    """Files of one line: found, stated and grouped."""
    for number in range(FILES):
        folder = directory / f"{number // 1000:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jsonl").write_text('{"patient": "1", "text": "One line."}\n')
    seconds = {}
    for part in (FILES // 2, FILES):
        begin = time.process_time()
        files = list_files([f"{directory}/{folder:04d}/*.jsonl" for folder in range(part // 1000)])
        groups = list(group_files(files))
        seconds[part] = time.process_time() - begin
    law = seconds[FILES] / FILES
    print(
        f"discovery: {law * 1e6:.1f} us per file ({seconds[FILES] / seconds[FILES // 2]:.2f} times as long for twice as"
    )
    print(f"  many), {law * 1e6:.0f} s per million; {FILES:,} one-line files in {len(groups)} tasks")
    tasks = len(groups) * CORPUS_FILES // FILES
    print(f"  {CORPUS_FILES:,} such files (files x time per file): {law * CORPUS_FILES:.0f} s, {tasks:,} tasks")


def write_notes(path: Path, size: int) -> None:
    """Notes in MIMIC's columns, no two alike, about so many bytes."""
    import csv

    notes = list(islice(generate(0), 400))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in count():
            note = dict(notes[number % len(notes)])
            text = note["text"].replace("\n", f" {number}\n")  # in most shingles, so that no note is a near duplicate
            writer.writerow(
                [f"N{number}", f"{90_000_000 + number // 3}", *(note[name] for name in COLUMNS[2:-1]), text]
            )
            if file.tell() >= size:
                return


def ranges(path: Path) -> None:
    """The first pass over one large file."""
    from clinical_modernbert.streaming_data.corpora.mimic_notes import MimicNotesSource
    from clinical_modernbert.streaming_data.division.ranges import RANGE_BYTES

    source = MimicNotesSource(name="notes", format="mimic_notes", paths=[str(path)], licence="")
    begin = time.process_time()
    spans = find_spans(source, path, path, RANGE_BYTES)
    seconds = time.process_time() - begin
    size = path.stat().st_size
    print(f"ranges: {size / 1e6:.0f} MB of CSV in {len(spans)} ranges, {size / seconds / 1e6:.0f} MB/s")
    print(f"  20 GB (bytes x time per byte): {seconds * LARGE_FILE / size:.0f} s, {LARGE_FILE // RANGE_BYTES:,} ranges")


def serial_share(directory: Path, notes: Path, tokenizer: Path) -> None:
    """Prepare one file in one process, and separate what tasks do from what the main process does between them."""
    config = PrepareConfig.model_validate(
        {
            "output": directory / "data",
            "tokenizer": tokenizer,
            "seq_length": 8192,
            "workers": 1,
            "near_duplicates": {"sources": ["notes"]},
            "sources": [
                {"name": "notes", "format": "mimic_notes", "paths": [str(notes)], "licence": "", "synthetic": True}
            ],
        }
    )
    times: dict[str, list[float]] = defaultdict(list)
    with timed_tasks(times):
        begin = time.process_time()
        manifest = pipeline.prepare(config, lambda stage: lambda done, total, counted: None)
        total = time.process_time() - begin
    split = manifest.sources["notes"].splits
    tokens = sum(counts.tokens for counts in split.values())
    stages = {stage: sum(values) for stage, values in times.items()}
    # A survey is one file's, and a plan is one split's: with one large file they are serial.
    alone = total - sum(stages.values()) + stages.get("survey", 0) + max(times["plan_split"])
    print(f"prepare: {tokens:,} tokens, {total:.1f} s of processor time, {tokens / total:,.0f} tokens/s")
    for stage, seconds in stages.items():
        print(f"  {stage:14}{len(times[stage]):6} tasks{seconds:9.2f} s{seconds / total:9.2%}")
    print(f"  serial{alone:28.2f} s{alone / total:9.2%}: first pass, plan of the largest split, all between tasks")
    bounds = ", ".join(f"{1 / (alone / total + (1 - alone / total) / cores):.1f} on {cores}" for cores in CORES)
    print(f"  Amdahl's limit: {total / alone:.0f} times the speed of one core; {bounds} cores")
    print(f"  peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")


@contextmanager
def timed_tasks(times: dict[str, list[float]]) -> Iterator[None]:
    """Record the processor time of every task of `parallel_map`, by the name of its function."""
    original = parallel._sequential_map

    def sequential(function: Callable[..., Any], items: Any, progress: Any) -> Any:
        def timed(item: Any, counted: Any) -> Any:
            begin = time.process_time()
            try:
                return function(item, counted)
            finally:
                times[function.__name__].append(time.process_time() - begin)

        return original(timed, items, progress)

    parallel._sequential_map = sequential
    try:
        yield
    finally:
        parallel._sequential_map = original
