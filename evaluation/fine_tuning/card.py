"""The model card (README.md) of a fine-tuned model."""

from collections.abc import Mapping

from ..models.protocol import Protocol
from .choice import Choice
from .head_config import HeadConfig
from .kind import ALL, Splits, Tuned

_TAGS = {"texts": "text-classification", "tokens": "token-classification", "spans": "question-answering"}


def fine_tuned_card(
    base: str,
    task: str,
    head: HeadConfig,
    splits: Splits,
    protocol: Protocol,
    seed: int,
    scores: Mapping[str, float],
    choice: Choice,
    tuned: Tuned,
) -> str:
    """The card. It has counts and scores, and no text of the data."""
    counts = {"training": splits.train, "development": splits.development, "test": splits.test}
    sizes = "\n".join(f"| {name} | {len(examples):,} |" for name, examples in counts.items() if examples)
    values = "\n".join(f"| {name} | {value:.4f} |" for name, value in scores.items())
    settings = "\n".join(f"| {key} | {value} |" for key, value in protocol.model_dump(exclude={"tokens"}).items())
    return f"""---
library_name: transformers
pipeline_tag: {_TAGS[head.rows]}
base_model: {base}
license: other
---
# {base} fine-tuned for {task}

{len(head.labels)} labels: {", ".join(head.labels)}.

A model may reproduce its training data: the terms of the data of `{task}` and of `{base}` apply to everyone who
receives it. It was not tested for any clinical use.

## Data

| split | examples |
| --- | --- |
{sizes}

## Results on the test split

{choice.sentence(next(iter(scores)))} The test split was used once, for these scores.

| score | |
| --- | --- |
{values}

## Protocol

| | |
| --- | --- |
{settings}
| seed | {seed} |
{_thresholds(tuned)}
`predictions.jsonl` has what was predicted for each test example. `reference.json` has inputs, token ids and outputs,
which any runtime must reproduce.
"""


def _thresholds(tuned: Tuned) -> str:
    if not tuned:
        return ""
    named = {"every label without its own" if label == ALL else label: value for label, value in tuned.items()}
    rows = "\n".join(f"| {label} | {value:.4f} |" for label, value in named.items())
    return f"""
## Thresholds

Chosen on the development split. What scores less is not predicted; transformers does not apply them.

| label | threshold |
| --- | --- |
{rows}
"""
