"""Chunks of texts as predictions of a fine-tuned model, and the files that hold them."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...configs.errors import UserError
from ..fine_tuning.kind import TRUTH
from ..formats.annotations import AnnotatedText, Columns, Span, find_format, read_annotations, write_annotations
from ..tasks.ner import NerTask
from .chunks import Part, Record
from .inputs import is_readable, read_input
from .processes import Compute, Count, Result, one_thread, use_device

if TYPE_CHECKING:
    from ..fine_tuning.fine_tuned import FineTuned

SUFFIXES = (".jsonl", ".parquet")
_KEPT = (*TRUTH, "unopened", "words")
"""Keys of a record that belong to the scores of a test, not to a prediction."""


@dataclass(frozen=True)
class Predictor:
    """Computes the predictions of chunks. Called with records, it returns JSON lines without text.

    Attributes:
        tokens: computed at a time.
    """

    model: "FineTuned"
    tokens: int

    def __call__(self, records: Sequence[Record], count: Count) -> Result:
        unlabeled = self.model.kind.unlabeled
        assert unlabeled is not None
        examples = [unlabeled(record.id, *_values(record.content)) for record in records]
        with one_thread():
            predicted = self.model.predict(examples, self.tokens)
        tokens = sum(record["tokens"] for record in predicted)
        count(len(records), tokens)
        lines = [{key: value for key, value in record.items() if key not in _KEPT} for record in predicted]
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        cut = sum(record["cut"] for record in predicted)
        return Result(content, {"texts": len(records), "tokens": tokens, "cut": cut})


def open_predictor(directory: Path, tokens: int, process: int) -> Compute[Record]:
    """Open the model in a process: on the GPU with its number, or on the CPU."""
    from ..saved_model import open_fine_tuned

    use_device(process)
    return Predictor(open_fine_tuned(directory), tokens)


def read_texts(source: Path, columns: Sequence[str], id_column: str | None, annotated: bool) -> Iterator[Record]:
    """The records of an input; of annotated texts with their words, where the format has words."""
    if not annotated:
        yield from read_input(source, columns, id_column)
        return
    for text in read_annotations(source, columns=Columns(columns[0], id_column)):
        yield Record(text.id, {"text": text.text, "words": text.words})


def is_annotated(source: Path, columns: Sequence[str]) -> bool:
    """Whether an input has a format of annotations, rather than being a table or plain text."""
    if source.is_dir():
        return not all(is_readable(file) for file in source.rglob("*") if file.is_file())
    return not is_readable(source) or find_format(source, Columns(columns[0])) not in ("table", "brat")


def write_predictions(
    name: str, texts: Callable[[], Iterator[Record]], source: Path | None, parts: Sequence[Part], directory: Path
) -> None:
    """Write the predictions of all parts to the file or directory `name` in a directory.

    JSON lines and Parquet have one record per text. Any other name is a format of annotations: that of the source,
    whose other content is kept, or that of the name.

    Args:
        texts: opens the input again.
        source: the input, if it is annotated.
    """
    path = directory / name
    if path.suffix == ".jsonl":
        path.write_bytes(b"".join(part.content() for part in parts))
    elif path.suffix == ".parquet":
        pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
        parquet.write_table(pa.Table.from_pylist(list(_records(parts))), path, compression="zstd")
    else:
        predicted = [
            AnnotatedText(text.id, *_text_and_words(text.content, [Span(*span) for span in record["predictions"]]))
            for text, record in zip(texts(), _records(parts), strict=True)
        ]
        write_annotations(predicted, path, None if source or path.suffix else "brat", source, counts=Counter())


def _text_and_words(content: Any, spans: list[Span]) -> tuple[str, list[Span], Any]:
    if isinstance(content, str):
        return content, spans, None
    words = content["words"]
    return content["text"], spans, None if words is None else [tuple(word) for word in words]


def _records(parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    return map(json.loads, chain.from_iterable(part.content().splitlines() for part in parts))


def _values(content: Any) -> tuple[Any, ...]:
    """The arguments of `unlabeled` after the id."""
    if isinstance(content, dict):
        words = content["words"]
        return [content["text"]], None if words is None else [tuple(word) for word in words]
    return ([content] if isinstance(content, str) else content,)


def check_predicts(task: Any, kind: Any, out: Path) -> None:
    """Check that a model of this kind predicts new texts, and that `out` can hold its predictions.

    Raises:
        UserError: it does not, or it cannot.
    """
    if kind.unlabeled is None:
        raise UserError(f"a model for a task of the kind {task.kind} predicts only the files of its task")
    if out.suffix not in SUFFIXES and not isinstance(task, NerTask):
        raise UserError(f"{out}: its name ends in none of {', '.join(SUFFIXES)}; choose one of these forms")
