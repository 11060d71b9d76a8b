"""What all tasks have in common that predict something of a text, or of a pair of texts, from a table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from ..fine_tuning.kind import Record
from ..formats.records import read_records
from ..formats.values import position, read_text
from ..models.protocol import Pooling
from ..scores.units import Score
from .long_texts import LongTexts

if TYPE_CHECKING:
    from torch import Tensor

    from ..fine_tuning.classifier import Example
    from ..models.tokens import Tokenizes


class TextTask(LongTexts):
    """Tables (.csv, .tsv, .jsonl, .parquet) with named columns, relative to the evaluation's `data`."""

    train: str
    test: str
    development: str | None = Field(
        None, description="chooses the best checkpoint and the thresholds; the test never does"
    )
    text: str = Field("text", description="column of the text")
    pair: str | None = Field(None, description="column of a second text, for inference and question answering")
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        return [self.train, self.test, *([self.development] if self.development else [])]


class LabeledText(NamedTuple):
    """A text, what is true of it, the second text if the task has pairs, and the number of its record or line."""

    text: str
    label: Any
    pair: str | None = None
    id: str = ""


def read_table(
    path: Path, task: TextTask, column: str, read: Callable[[Mapping[str, Any], str, str], Any]
) -> Iterator[tuple[str, LabeledText]]:
    """Yield the texts of a file, each with its file and line.

    Args:
        column: of the label.
        read: the label of a record, from its column and its file and line.
    """
    for number, record in read_records(path, [task.text, column, *([task.pair] if task.pair else [])]):
        where = position(path, number)
        pair = read_text(record, task.pair, where) if task.pair else None
        text, label = read_text(record, task.text, where), read(record, column, where)
        yield where, LabeledText(text, label, pair, str(number))


def encode_labeled(
    model: "Tokenizes", task: LongTexts, texts: Sequence[LabeledText], targets: "Sequence[Tensor]"
) -> "list[Example]":
    """Examples of texts or pairs with these targets."""
    from ..fine_tuning.classifier import Example
    from ..models.tokens import Lengths, encode_long_texts

    if not texts:
        return []
    pairs = [text.pair or "" for text in texts] if texts[0].pair is not None else None
    lengths = Lengths(task.max_length, task.shared_tokens())
    encoded = encode_long_texts(model, [text.text for text in texts], lengths, pairs)
    return [Example(tuple(one.windows), target, cut=one.cut) for one, target in zip(encoded, targets, strict=True)]


def columns(task: TextTask) -> tuple[str, ...]:
    """The columns of a text to predict."""
    return (task.text, *([task.pair] if task.pair else []))


def unlabeled(label: Any) -> Callable[[str, Sequence[str]], LabeledText]:
    """What makes a text, or a text and its pair, to be predicted; `label` stands in for what is true."""

    def make(name: str, values: Sequence[str]) -> LabeledText:
        return LabeledText(values[0], label, values[1] if len(values) > 1 else None, name)

    return make


def cut(records: Sequence[Record]) -> Score:
    """The share of texts that are longer than the model and not divided."""
    return Score("mean", [record["cut"] for record in records])
