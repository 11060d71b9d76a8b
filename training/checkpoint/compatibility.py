"""Whether a checkpoint belongs to a run: the same architecture, tokenizer, objective and optimizer.

Tensor shapes cannot decide this. Heads, windows, rotary bases and epsilons change what the model computes but no shape,
and a model with fewer layers finds all its tensors in the checkpoint of a deeper one.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ...model.config import ModelConfig
from ..recipe.config import IDENTITY_KEYS, RunConfig
from .manifest import CheckpointManifest, try_read_manifest


def require_same_model(
    checkpoint: Path, manifest: CheckpointManifest, config: RunConfig, model: ModelConfig, tokenizer: str
) -> list[str]:
    """Require that a run continues the model and the optimizer of a checkpoint, but for the keys in `allow_changed`.

    Args:
        model: architecture of the run, from its recipe or its `initial_weights`.
        tokenizer: SHA-256 of the data's tokenizer.json; empty if the data does not record it.
    Returns:
        The differences that `allow_changed` permits.
    Raises:
        UserError: the checkpoint is an average; or the architecture, the tokenizer, the objective or the optimizer
            changed, in which case the message lists every difference.
    """
    if manifest.averaged:
        raise UserError(
            f"{checkpoint}: the average of {len(manifest.averaged)} checkpoints, without an optimizer's state, so that "
            "no run can be continued from it: export it, and start in another run_dir with initial_weights set to the "
            "exported directory"
        )
    before = recorded_identity(manifest)
    now = _identity(model.model_dump(mode="json"), tokenizer, config.model_dump(mode="json"))
    changes = _changes(before, now)
    if refused := {key: text for key, text in changes.items() if key not in config.allow_changed}:
        keys = ", ".join([*config.allow_changed, *refused])
        raise UserError(
            f"{checkpoint}: this checkpoint belongs to another model than the recipe's: {'; '.join(refused.values())}. "
            "Restore what changed or start in another run_dir; to continue with the change nevertheless, "
            f"--set 'allow_changed=[{keys}]'"
        )
    return [*changes.values()]


def before_changes(checkpoints: Sequence[Path]) -> list[Path]:
    """The newest checkpoint before each change of the model: no later one can replace it.

    Args:
        checkpoints: of one run, newest first. Those without a readable manifest do not count.
    """
    manifests = [(path, manifest) for path in checkpoints if (manifest := try_read_manifest(path))]
    return [
        older
        for (_, newer_manifest), (older, manifest) in pairwise(manifests)
        if _changes(recorded_identity(manifest), recorded_identity(newer_manifest))
    ]


def recorded_identity(manifest: CheckpointManifest) -> dict[str, Any]:
    """The value of each identity key that a manifest records; earlier versions recorded fewer."""
    return _identity(manifest.model.model_dump(mode="json"), manifest.tokenizer or "", manifest.config)


def recorded_optimizer(manifest: CheckpointManifest) -> str | None:
    """The name of the optimizer whose state a checkpoint holds; None if its manifest does not record it."""
    name: str | None = recorded_identity(manifest).get("optimizer.name")
    return name


def _identity(model: Mapping[str, Any], tokenizer: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    known = {f"model.{name}": value for name, value in model.items()} | ({"tokenizer": tokenizer} if tokenizer else {})
    known |= {f"{section}.{key}": value for section, key, value in _leaves(recipe)}
    if "schedule.mlm_probability" in known:
        known.setdefault("schedule.objective", "masked")  # earlier versions had no other and did not record it
    return {key: known[key] for key in IDENTITY_KEYS if key in known}


def _leaves(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """The keys of the sections of a recipe but `model`, which may be null."""
    for section, values in recipe.items():
        if section != "model" and isinstance(values, Mapping):
            yield from ((section, key, value) for key, value in values.items())


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """The differences of the keys that both have, as a text by key."""
    return {
        key: text
        for key in IDENTITY_KEYS
        if key in before and key in now
        for text in differences(before[key], now[key], key)
    }


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """The differences between two JSON trees, by dotted names; long values such as hashes are shortened."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys((*now, *before))
        return [
            each for key in keys for each in differences(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if before == now else [f"{name} was {_short(before)}, is {_short(now)}"]


def _short(value: Any) -> str:
    text, limit = json.dumps(value), 40 if isinstance(value, str) else 200
    return text if len(text) <= limit else f"{text[:20]}..."
