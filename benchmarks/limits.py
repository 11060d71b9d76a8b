"""Measures what each bound of configs/limits.py costs: reads the worst file that is still allowed, or is just refused.

    python benchmarks/limits.py

Every case runs in a process of its own. It prints the table of docs/limits.md: peak memory beyond that of the imports,
and seconds of processor time.
"""

import gzip
import json
import multiprocessing
import resource
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from fuzz_formats import ARTICLE, CITATIONS, TABULAR, formats

from clinical_modernbert.configs import limits
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.reporting import run_program

_MB = 1 << 20


def _chunks(path: Path, start: bytes, block: bytes, size: int, end: bytes = b"") -> Path:
    with gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb") as file:
        file.write(start)
        for _ in range(size // len(block)):
            file.write(block)
        file.write(end)
    return path


def _tar(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive, (path.parent / "zeros").open("w+b") as zeros:
        member = tarfile.TarInfo("a.xml")
        member.size = 800 * _MB
        zeros.truncate(member.size)
        archive.addfile(member, zeros)
    return path


def cases(home: Path) -> dict[str, tuple[str, Callable[[], Path]]]:
    """The name of each case, its format, and what writes its file."""
    before, after = ARTICLE.split(b"Why &a;.")
    first, last = CITATIONS.split(b"One.\n")
    start, end = TABULAR.split(b"<note>n</note>")
    tags = limits.XML_TAGS - 1_000
    half = limits.RECORD_CHARACTERS // 2 - 100
    return {
        "YAML of 20,000 values": ("yaml", lambda: _chunks(home / "a.yaml", b"more: [", b"a, ", 3 * 9_990 * 2, b"a]\n")),
        "gzip bomb of 800 MB": (
            "gzip",
            lambda: _chunks(
                home / "a.csv.gz", b"note_id,subject_id,text\n", b"1,2," + b"x" * 99_995 + b"\n", 800 * _MB
            ),
        ),
        "gzip bomb of 800 MB, as PubMed": (
            "pubmed",
            lambda: _chunks(home / "a.xml.gz", b"<PubmedArticleSet>", b"\n" * 100_000, 800 * _MB),
        ),
        "tar.gz of one member of 800 MB": ("tar.gz", lambda: _tar(home / "a.tar.gz")),
        "article of 1.5 million tags": ("pmc", lambda: _chunks(home / "a.nxml", before, b"<a/>", 4 * tags, after)),
        "article of 32 MB of text": (
            "pmc",
            lambda: _chunks(home / "a.nxml", before, b"<p>" + b"word " * 1000 + b"</p>", 32 * _MB - 8192, after),
        ),
        "citation of 1.5 million tags": ("pubmed", lambda: _chunks(home / "a.xml", first, b"<a/>", 4 * tags, last)),
        "tabular list of 1.5 million tags": ("icd10cm", lambda: _chunks(home / "a.xml", start, b"<a/>", 4 * tags, end)),
        "CSV document of 16 million characters": (
            "csv",
            lambda: _chunks(home / "a.csv", b"note_id,subject_id,text\n1,2,", b"word ", limits.DOCUMENT_CHARACTERS),
        ),
        "CSV record of 16 million fields": (
            "csv",
            lambda: _chunks(home / "a.csv", b"note_id,subject_id,text\n1,2,", b"a,", 2 * half),
        ),
        "JSON line of 32 million characters, nested": (
            "jsonl",
            lambda: _chunks(home / "a.jsonl", b'{"text": "a", "patient": 1, "more": [', b"{},", 2 * half, b"1]}\n"),
        ),
        "JSON document of 16 million characters": (
            "jsonl",
            lambda: _chunks(
                home / "a.jsonl", b'{"patient": 1, "text": "', b"word ", limits.DOCUMENT_CHARACTERS, b'"}\n'
            ),
        ),
        "code list of 32 MB": (
            "codes",
            lambda: _chunks(home / "a.txt", b"", b"A000    Cholera due to Vibrio\n", limits.CODE_FILE_BYTES),
        ),
        "HTML of 4 million characters": (
            "html",
            lambda: _chunks(home / "a.html", b"<p>", b"a<b>b</b> ", limits.MARKUP_CHARACTERS - 100),
        ),
        "RTF of 4 million characters": (
            "rtf",
            lambda: _chunks(home / "a.rtf", b"{\\rtf1 ", b"a{\\b b}\\par ", limits.MARKUP_CHARACTERS - 100),
        ),
        "shard index of 32 MB": (
            "mds-index",
            lambda: _chunks(home / "index.json", b'{"shards": [', b"{},", limits.INDEX_BYTES - 100, b"{}]}"),
        ),
        "tokenizer.json of 48 MB": (
            "tokenizer.json",
            lambda: _chunks(home / "tokenizer.json", b"[", b"{},", limits.TOKENIZER_BYTES - 100, b"{}]"),
        ),
    }


def _measure(name: str, home: Path, queue: "multiprocessing.Queue[str]") -> None:
    kind, write = cases(home)[name]
    form = formats(home)[kind]
    folder = {"mds-index": "notes/train", "tokenizer.json": "tokenizer"}.get(kind)
    for path in (home / "small" / folder).iterdir() if folder else []:
        (home / path.name).write_bytes(path.read_bytes())
    (home / form.file).write_bytes(form.content)
    form.read(home / form.file)
    path = write()
    size = path.stat().st_size
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        form.read(path)
        outcome = "read"
    except UserError as error:
        outcome = "refused: " + str(error).replace(f"{path}: ", "")[:80]
    seconds, peak = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    queue.put(json.dumps(f"| {name} | {size / _MB:,.1f} | {peak / 1024:,.0f} | {seconds:.1f} | {outcome} |"))


def main() -> None:
    context = multiprocessing.get_context("spawn")
    print("| file | MB | peak MB | seconds | outcome |\n|---|---:|---:|---:|---|")
    with TemporaryDirectory() as directory:
        names = list(cases(Path(directory)))
    for name in names:
        with TemporaryDirectory() as directory:
            queue: multiprocessing.Queue[str] = context.Queue()
            process = context.Process(target=_measure, args=(name, Path(directory), queue))
            process.start()
            process.join()
            print(
                json.loads(queue.get()) if process.exitcode == 0 else f"| {name} | exit {process.exitcode} |",
                flush=True,
            )


if __name__ == "__main__":
    run_program(main)
