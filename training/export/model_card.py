"""The model card (README.md) of an exported model: data, recipe, results, limitations and provenance."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ...model.config import ModelConfig
from ...streaming_data.shards.restricted import every_source
from ..checkpoint.manifest import CheckpointManifest
from .bias import Probes, bias_section
from .privacy import Privacy, terms_of
from .public import public_name
from .scores import Scores


def model_card(
    manifest: CheckpointManifest,
    config: ModelConfig,
    scores: Scores,
    average: bool = False,
    probes: Probes = MappingProxyType({}),
    privacy: Privacy = Privacy(),  # noqa: B008 - immutable
) -> str:
    """Return the model card of a checkpoint, from its manifest and the scores of its run.

    Args:
        average: whether the weights are their running average.
        probes: comparisons of groups, from bias.json.
        privacy: what is known of the privacy of these weights.
    """
    run, progress = manifest.config, manifest.progress
    schedule, optimizer = run["schedule"], run["optimizer"]
    objective = _objective(schedule.get("objective", "masked"))
    masking = " to ".join(f"{rate:.0%}" for _, rate in schedule["mlm_probability"])
    packages = ", ".join(f"{name} {version}" for name, version in manifest.packages.items())
    return f"""---
library_name: transformers
pipeline_tag: fill-mask
language: en
license: other
tags: [modernbert, clinical, biomedical]
---
# Clinical ModernBERT encoder

A ModernBERT masked language model, {_started(manifest)}, of {config.num_parameters:,} parameters and a context of
{_context(run, config)}. It is meant to be fine-tuned for named entity recognition, classification,
relation extraction or retrieval in clinical and biomedical text. Without fine-tuning it fills masks.

## Training data

{_sources(manifest)}

A model may reproduce its training data, so the terms of a credentialed source apply to everyone who receives the model.
{_restricted(manifest)}

## Recipe

| | |
| --- | --- |
| steps | {progress.step:,} |
| tokens seen | {progress.tokens:,} |
| weights | {_weights(manifest, average)} |
| batch | {run["batch"]["global_batch_size"]:,} packs of {run["data"]["seq_length"]:,} tokens |
| longest sequences | {_lengths(run)} |
| optimizer | {optimizer["name"]}, learning rate {optimizer["lr"]:g}, weight decay {optimizer["weight_decay"]:g} |
| objective | {objective} |
| masking | {masking}, {run["data"]["masking"]} |
| precision | {run["engine"]["precision"]}, ZeRO stage {run["engine"]["zero_stage"]} |
| seed | {run["seed"]} |

## Results

{_results(manifest, scores)}

## Limitations and bias

- The model was not tested for any clinical use and must not make decisions about patients. Systems built on it need
  their own validation, at the site and for the patients for which they will be used.
- Text reflects who is treated, where, and who writes. Notes of one hospital carry its population, habits and
  judgments, and articles those of research. The model can learn associations with sex, age, ethnicity, language or
  insurance.
- The model was trained on the sources above only. Other languages, specialties, periods and kinds of text may be
  represented poorly. Numbers, negation and time are known weaknesses of masked language models.
- A masked language model can be probed for its training text. {_tested(privacy)}

### Bias probe

{bias_section(probes)}

{_section(privacy)}## Provenance

| | |
| --- | --- |
| data set | {manifest.data_manifest} |
| code | {manifest.git_revision or "an installed package"} |
| packages | {packages} |

`training.json` has the complete configuration and the hash of every shard that was read.
"""


def _started(manifest: CheckpointManifest) -> str:
    origin, given = manifest.initial_weights, manifest.config["initial_weights"]
    if given is None:
        return "trained from scratch"
    name = public_name(origin.address if origin else given)
    return f"continued from `{name}`" + (" with a new prediction head" if origin and origin.new_parameters else "")


def _weights(manifest: CheckpointManifest, average: bool) -> str:
    if average:
        return f"running average, decay {manifest.config['running_average']['decay']:g} per step"
    if manifest.averaged:
        return f"average of the checkpoints {', '.join(manifest.averaged)}"
    return "of the last step"


def _objective(objective: str | Sequence[Mapping[str, Any]]) -> str:
    """The objective, or its stages."""
    names = {"masked": "masked tokens", "causal": "next token"}
    if isinstance(objective, str):
        return names[objective]
    return ", then ".join(
        names[stage["objective"]] + (f" until {stage['until_tokens']:,} tokens" if stage["until_tokens"] else "")
        for stage in objective
    )


def _sources(manifest: CheckpointManifest) -> str:
    seen, total = manifest.progress.source_tokens, manifest.progress.tokens
    rows = []
    for name in manifest.data["weights"]:
        terms = manifest.sources[name]
        kind = "synthetic" if terms.synthetic else "public" if terms.public else "restricted"
        share = seen.get(name, 0) / total if total else 0.0
        rows.append((name, f"{seen.get(name, 0):,}", f"{share:.1%}", str(terms.licence), kind))
    table = _table(("source", "tokens seen", "share", "license", "kind"), rows)
    if not manifest.initial_sources:
        return table
    return f"{table}\n\nIt continues a model that was trained on: {', '.join(sorted(manifest.initial_sources))}."


def _restricted(manifest: CheckpointManifest) -> str:
    terms = terms_of(every_source(manifest.sources, manifest.initial_sources))
    if not terms:
        return ""
    lines = "\n".join(f"- {name}: {words}." for name, words in sorted(terms.items()))
    return (
        f"Restricted sources: {', '.join(sorted(terms))}. Distribute the model only as their licenses allow. "
        f"Their terms:\n\n{lines}"
    )


def _section(privacy: Privacy) -> str:
    return f"{privacy.section.rstrip()}\n\n" if privacy.section else ""


def _tested(privacy: Privacy) -> str:
    return "See below." if privacy.section else "Whether individuals can be identified was not tested."


def _context(run: Mapping[str, Any], config: ModelConfig) -> str:
    trained, allowed = max(_max_lengths(run)), config.max_position_embeddings
    return f"{allowed:,} tokens" + (f" (trained on up to {trained:,})" if trained < allowed else "")


def _lengths(run: Mapping[str, Any]) -> str:
    return ", then ".join(f"{length:,}" for length in _max_lengths(run)) + " tokens"


def _max_lengths(run: Mapping[str, Any]) -> list[int]:
    """The maximum sequence length of each stage."""
    return [stage["max_seqlen"] for stage in run["schedule"]["seq_length"]] or [run["data"]["seq_length"]]


def _results(manifest: CheckpointManifest, scores: Scores) -> str:
    loss = manifest.validation_loss
    measured = (
        f"Validation loss {loss:.4f} per masked token, the mean over sources, at 15 % masking.\n\n" if loss else ""
    )
    rows = [
        (task, public_name(model), name, _format_score(score))
        for task, models in scores.items()
        for model, model_scores in models.items()
        for name, score in model_scores.items()
    ]
    if not rows:
        return f"{measured}No benchmark was run. `cmbert evaluate` compares encoders under the same protocol."
    return measured + _table(("task", "model", "score", "mean ± standard deviation"), rows)


def _format_score(score: Mapping[str, Any]) -> str:
    deviation, seeds = score["deviation"], len(score["values"])
    return f"{score['mean']:.4f}" + ("" if deviation is None else f" ± {deviation:.4f} ({seeds} seeds)")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"

    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])
