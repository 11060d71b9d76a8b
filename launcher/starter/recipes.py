"""The text of a first data recipe and training recipe, with comments for the person who will edit them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...configs.loader.tree import to_yaml
from .columns import Columns
from .sample import Sample

_PACK = 8192
_PASSES = 3
_STEPS = 1000
_PACKS = (8, 512)
"""Packs per step, at least and at most."""
_BYTES_PER_TOKEN = 4
_COMPRESSION = {".gz": 3.5, ".parquet": 2.0}


@dataclass(frozen=True)
class Start:
    """What the recipes are about.

    Attributes:
        notes: files or patterns.
        model: the directory of the model to continue, with its tokenizer.
        output: the directory for the data set and the run.
        tokens: estimated number of tokens of the notes.
        columns: those of the notes.
        encoding: that of the notes.
    """

    notes: Sequence[str]
    model: Path
    output: Path
    tokens: int
    columns: Columns
    encoding: str


_DATA = """\
# Your notes as a data set. Written by `cmbert init`; docs/data.md explains all keys.
# Paths are relative to the directory in which you run cmbert.

# The directory of the data set. It must not exist yet: a data set is never overwritten.
output: {packs}
# The model's own tokenizer: continued pretraining keeps its vocabulary.
tokenizer: {model}
# The share of the patients that training never sees; validation uses their notes.
held_out: 0.05

sources:
  # The name of the source in reports and in mixing weights.
  - name: notes
    # CSV, TSV, JSON Lines or Parquet, by the name of each file.
    format: table
    # Files or patterns, such as notes/*.csv.
    paths: {notes}
    # The column of the text.
    text: {text}
    # The column of the patient, whose notes are all in training or all held out.
    split_by: {patient}
{optional}    # The terms of use. They are copied to the data set and to the model card.
    licence: the hospital's own
    # The share of the notes to use; 0.1 for a first try.
    sample: 1.0
"""
_TRAINING = """\
# Continued pretraining of a ModernBERT on your notes. Written by `cmbert init`; docs/configs.md explains recipes.
# `cmbert config show` prints this one with all its values.

# The packaged recipe whose values are used unless this file replaces them.
extends: continue-base
# The directory of the run: checkpoints, metrics, report. The same command continues the run in it.
run_dir: {run}
# The model to continue, in Hugging Face's format.
initial_weights: {model}

data:
  # The data set that `cmbert data prepare` writes.
  path: {packs}

batch:
  # Packs of {pack:,} tokens per step, over all GPUs.
  global_batch_size: {batch}
  # Packs that one GPU computes at a time. `cmbert plan` gives the largest that fits.
  micro_batch_size: 1

schedule:
  # About {passes} passes over your notes. Their size was estimated from the files: correct these numbers when
  # `cmbert data prepare` has printed the number of tokens.
  total_tokens: {total:_}
  # The learning rate rises over the first 5 % and falls over the last 20 %.
  warmup_tokens: {warmup:_}
  decay_tokens: {decay:_}

optimizer:
  # The peak of the learning rate. Lower it if the loss rises after the warm-up.
  lr: 3e-4

engine:
  # bf16 on GPUs; fp32 on a machine without one.
  precision: bf16

checkpoint:
  # Steps from one checkpoint to the next.
  every_steps: {often}

validation:
  # Steps from one validation on held-out notes to the next.
  every_steps: {often}
"""


def data_recipe(start: Start) -> str:
    """Return the text of a data recipe."""
    optional = ""
    if start.columns.id:
        optional += f"    # The column of the note's id.\n    id: {_yaml(start.columns.id)}\n"
    if start.encoding != "utf-8":
        optional += (
            f"    # The encoding of the files, a guess from their first bytes.\n    encoding: {start.encoding}\n"
        )
    return _DATA.format(
        packs=_yaml(str(start.output / "packs")),
        model=_yaml(str(start.model)),
        notes=_yaml(list(start.notes)),
        text=_yaml(start.columns.text),
        patient=_yaml(start.columns.patient),
        optional=optional,
    )


def training_recipe(start: Start) -> str:
    """Return the text of a training recipe for that data set."""
    total = max(_round(_PASSES * start.tokens), _PACKS[0] * _PACK)
    batch = _packs_per_step(total)
    return _TRAINING.format(
        packs=_yaml(str(start.output / "packs")),
        model=_yaml(str(start.model)),
        run=_yaml(str(start.output / "run")),
        pack=_PACK,
        batch=batch,
        passes=_PASSES,
        total=total,
        warmup=total // 20,
        decay=total // 5,
        often=max(1, total // (batch * _PACK) // 20),
    )


def estimate_tokens(samples: Sequence[Sample], text: str) -> int:
    """Estimate the tokens of all files from their sizes, and from the share of the text in the first records."""
    values = [value for sample in samples for row in sample.records for value in row.values() if value is not None]
    texts = [row[text] for sample in samples for row in sample.records if row.get(text)]
    share = sum(len(str(value)) for value in texts) / max(1, sum(len(str(value)) for value in values))
    size = sum(sample.path.stat().st_size * _COMPRESSION.get(sample.path.suffix, 1.0) for sample in samples)
    return round(size * share / _BYTES_PER_TOKEN)


def _packs_per_step(total: int) -> int:
    """Return a power of two that gives about `_STEPS` steps, within limits."""
    wanted = max(1, total // (_PACK * _STEPS))
    least, most = _PACKS
    return min(most, max(least, 1 << (wanted.bit_length() - 1)))


def _round(number: int) -> int:
    """Round up to two digits."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit


def _yaml(value: str | list[str]) -> str:
    """Return a value as YAML on one line, text in quotes where it needs them."""
    if isinstance(value, list):
        return f"[{', '.join(map(json.dumps, value))}]"
    return to_yaml([value]).removeprefix("- ").strip()
