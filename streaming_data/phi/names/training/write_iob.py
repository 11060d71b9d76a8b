"""Write the synthetic text with names as IOB files, to train another tagger on it with `cmbert finetune`.

    python -m clinical_modernbert.streaming_data.phi.names.training.write_iob FOLDER [--documents 4000]

`train.tsv`, `devel.tsv` and `test.tsv` have other names each, except those that are in two locales; the phrases are the
same. How good a tagger is, `benchmarks/phi/held_out_names.py` decides, not `test.tsv`. It needs `pip install names` and
the extras `demo` and `dev`.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from .....configs.reporting import run_program
from .....storage.files import atomic_write
from ..words import WORD
from .documents import Labelled, Synthesizer
from .people import LOCALES, Pool, faker_pool
from .train import citations, of_parts

FILES = {"train.tsv": ({0, 1}, 1.0), "devel.tsv": ({2}, 0.1), "test.tsv": ({3}, 0.1)}
"""Of each file the parts of the names, and its share of the documents."""


def iob(document: Labelled) -> Iterator[str]:
    """A line per word, an empty one behind each line of text and behind the document."""
    names = iter(document.names)
    start, end = next(names, (1 << 60, 1 << 60))
    inside = False
    for match in WORD.finditer(document.text):
        while match.start() >= end:
            start, end = next(names, (1 << 60, 1 << 60))
            inside = False
        if match[0] == "\n":
            yield "\n"
            inside = False
        elif match.end() > start:
            yield f"{match[0]}\t{'I' if inside else 'B'}-NAME\n"
            inside = True
        else:
            yield f"{match[0]}\tO\n"
    yield "\n"


def write(folder: Path, pools: Sequence[Pool], lines: Sequence[str], documents: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, (parts, share)) in enumerate(FILES.items()):
        synthesizer = Synthesizer([of_parts(pool, parts) for pool in pools], lines, Random(seed))
        rows = (row for document in synthesizer.documents(int(documents * share)) for row in iob(document))
        atomic_write(folder / name, "".join(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=4000, help="of train.tsv; a tenth as many of the others")
    arguments = parser.parse_args()
    lines = [line for text in citations()["training"] for line in text.split(". ") if len(line) > 15]
    write(arguments.folder, [faker_pool(locale) for locale in LOCALES], lines, arguments.documents)


if __name__ == "__main__":
    run_program(main)
