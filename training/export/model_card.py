"""The README.md of an exported model: what it is, what it saw, what it scores, and where it came from."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...model.config import ModelConfig
from ...streaming_data.shards.restricted import restricted_sources
from .scores import Scores


def model_card(manifest: Mapping[str, Any], config: ModelConfig, scores: Scores) -> str:
    """The card of the model in a checkpoint, from its manifest and what evaluations of its run found."""
    run, progress = manifest["config"], manifest["progress"]
    schedule, optimizer = run["schedule"], run["optimizer"]
    masking = " to ".join(f"{rate:.0%}" for _, rate in schedule["mlm_probability"])
    started = f"continued from `{run['initial_weights']}`" if run["initial_weights"] else "trained from scratch"
    packages = ", ".join(f"{name} {version}" for name, version in manifest["packages"].items())
    return f"""---
library_name: transformers
pipeline_tag: fill-mask
language: en
license: other
tags: [modernbert, clinical, biomedical]
---
# Clinical ModernBERT encoder

A ModernBERT masked language model, {started}, of {config.num_parameters:,} parameters and a context of
{_context(run, config)}. It is meant to be fine-tuned for entities, classes, relations or retrieval in
clinical and biomedical text; by itself it fills masks.

## Training data

{_sources(manifest)}

A model may reproduce what it was trained on: the terms of a credentialed source bind all who are given the model.
{_restricted(manifest)}

## Recipe

| | |
| --- | --- |
| steps | {progress["step"]:,} |
| tokens seen | {progress["tokens"]:,} |
| batch | {run["batch"]["packs"]:,} packs of {run["data"]["seq_length"]:,} tokens |
| longest sequences | {_lengths(run)} |
| optimizer | {optimizer["name"]}, learning rate {optimizer["lr"]:g}, weight decay {optimizer["weight_decay"]:g} |
| masking | {masking}, {run["data"]["masking"]} |
| precision | {run["engine"]["precision"]}, ZeRO stage {run["engine"]["zero_stage"]} |
| seed | {run["seed"]} |

## Results

{_results(manifest, scores)}

## Limitations and bias

- It was not tested for any clinical use and must not decide about patients. What is built on it needs validation of its
  own, where and for whom it will be used.
- Text reflects who is treated, where, and who writes: notes of one hospital carry its population, its habits and its
  judgements, and articles those of research. Associations with sex, age, ethnicity, language or insurance can be
  learned; none were measured here.
- It was trained on the sources above and on no others: other languages, specialities, times and kinds of text may be
  represented badly. Numbers, negation and time are known weaknesses of masked language models.
- A masked language model can be probed for its training text. Whether single persons can be recognised was not tested.

## Provenance

| | |
| --- | --- |
| data set | {manifest["data_manifest"]} |
| code | {manifest["git_revision"] or "an installed package"} |
| packages | {packages} |

The whole configuration, and the hash of every shard it read, are in `training.json`.
"""


def _sources(manifest: Mapping[str, Any]) -> str:
    seen, total = manifest["progress"]["source_tokens"], manifest["progress"]["tokens"]
    rows = []
    for name in manifest["data"]["weights"]:
        facts = manifest["sources"][name]
        kind = "made up" if facts["synthetic"] else "public" if facts.get("public") else "closed"
        share = seen.get(name, 0) / total if total else 0.0
        rows.append((name, f"{seen.get(name, 0):,}", f"{share:.1%}", facts["licence"], kind))
    return _table(("source", "tokens seen", "share", "licence", "kind"), rows)


def _restricted(manifest: Mapping[str, Any]) -> str:
    restricted = sorted(restricted_sources(manifest["sources"]))
    return (
        f"Closed here: {', '.join(restricted)}. Pass the model on only as their licences allow." if restricted else ""
    )


def _context(run: Mapping[str, Any], config: ModelConfig) -> str:
    trained, allowed = max(_longest(run)), config.max_position_embeddings
    return f"{allowed:,} tokens" + (f" (trained on up to {trained:,})" if trained < allowed else "")


def _lengths(run: Mapping[str, Any]) -> str:
    return ", then ".join(f"{length:,}" for length in _longest(run)) + " tokens"


def _longest(run: Mapping[str, Any]) -> list[int]:
    """Sequences of each stage."""
    return [stage["max_seqlen"] for stage in run["schedule"]["seq_length"]] or [run["data"]["seq_length"]]


def _results(manifest: Mapping[str, Any], scores: Scores) -> str:
    loss = manifest.get("validation_loss")
    measured = f"Held-out loss {loss:.4f} a masked token, the mean of sources, at 15 % masking.\n\n" if loss else ""
    rows = [
        (task, subject, name, _spread(score))
        for task, subjects in scores.items()
        for subject, found in subjects.items()
        for name, score in found.items()
    ]
    if not rows:
        return f"{measured}No benchmark was run. `cmbert evaluate` compares encoders under one protocol."
    return measured + _table(("task", "model", "score", "mean ± standard deviation"), rows)


def _spread(score: Mapping[str, Any]) -> str:
    deviation, seeds = score["deviation"], len(score["values"])
    return f"{score['mean']:.4f}" + ("" if deviation is None else f" ± {deviation:.4f} ({seeds} seeds)")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"

    return "\n".join([line(titles), line(["---"] * len(titles)), *map(line, rows)])
