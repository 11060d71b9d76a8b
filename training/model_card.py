"""The README.md of an exported model: what it is, what it saw, and where it came from."""

from collections.abc import Mapping
from typing import Any

from ..model.config import ModelConfig


def model_card(manifest: Mapping[str, Any], config: ModelConfig) -> str:
    """The card of the model in a checkpoint, from its manifest."""
    run, progress = manifest["config"], manifest["progress"]
    schedule, optimizer = run["schedule"], run["optimizer"]
    masking = " to ".join(f"{rate:.0%}" for _, rate in schedule["mlm_probability"])
    started = f"continued from `{run['initial_weights']}`" if run["initial_weights"] else "trained from scratch"
    packages = ", ".join(f"{name} {version}" for name, version in manifest["packages"].items())
    return f"""---
library_name: transformers
pipeline_tag: fill-mask
tags: [modernbert, clinical, biomedical]
---
# Clinical ModernBERT encoder

A ModernBERT masked language model, {started}, of {config.num_parameters:,} parameters and a context of
{config.max_position_embeddings:,} tokens.

## Training data

| source | share of tokens | licence | synthetic |
| --- | --- | --- | --- |
{_source_rows(manifest)}

A model may reproduce what it was trained on: the terms of a credentialed source bind all who are given the model.

## Recipe

| | |
| --- | --- |
| steps | {progress["step"]:,} |
| tokens seen | {progress["tokens"]:,} |
| batch | {run["batch"]["packs"]:,} packs of {run["data"]["seq_length"]:,} tokens |
| optimizer | {optimizer["name"]}, learning rate {optimizer["lr"]:g}, weight decay {optimizer["weight_decay"]:g} |
| masking | {masking}, {run["data"]["masking"]} |
| precision | {run["engine"]["precision"]}, ZeRO stage {run["engine"]["zero_stage"]} |
| seed | {run["seed"]} |

## Provenance

| | |
| --- | --- |
| data set | {manifest["data_manifest"]} |
| code | {manifest["git_revision"] or "an installed package"} |
| packages | {packages} |

The whole configuration, and the hash of every shard it read, are in `training.json`.
"""


def _source_rows(manifest: Mapping[str, Any]) -> str:
    rows = []
    for name, weight in manifest["data"]["weights"].items():
        facts = manifest["sources"][name]
        rows.append(f"| {name} | {weight:.1%} | {facts['licence']} | {'yes' if facts['synthetic'] else 'no'} |")
    return "\n".join(rows)
