"""A run continues only checkpoints of its own model, and never removes the last one from before a change."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from small_run import SmallRun
from written_run import MODEL, manifest_of

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.training.checkpoint import files
from clinical_modernbert.training.checkpoint.compatibility import require_same_model
from clinical_modernbert.training.checkpoint.manifest import CheckpointManifest, read_manifest, write_manifest
from clinical_modernbert.training.checkpoint.shard_reader import ShardReader
from clinical_modernbert.training.recipe.config import IDENTITY_KEYS, RunConfig

BASE: dict[str, Any] = {
    "run_dir": "runs/x",
    "model": MODEL.model_dump(),
    "data": {"path": "packs", "seq_length": 64},
    "batch": {"global_batch_size": 4},
    "schedule": {"total_tokens": 100_000},
    "optimizer": {"lr": 1e-3},
}
CHANGED: dict[str, Any] = {
    "model.vocab_size": 256,
    "model.hidden_size": 64,
    "model.num_attention_heads": 4,
    "model.global_rope_theta": 80_000.0,
    "model.local_rope_theta": 500.0,
    "model.norm_eps": 1e-6,
    "model.classifier_activation": "silu",
    "model.embedding_dropout": 0.1,
    "model.attention_dropout": 0.1,
    "model.mlp_dropout": 0.1,
    "model.pad_token_id": 7,
    "model.cls_token_id": 8,
    "model.sep_token_id": 9,
    "data.masking": "span",
    "schedule.mlm_probability": [[0, 0.15]],
    "optimizer.name": "muon",
    "schedule.objective": [{"objective": "causal", "until_tokens": 50_000}, {"objective": "masked"}],
}
"""Another value of each key of the architecture and objective; the keys that are absent here are doubled."""


def recipe(**changes: Any) -> RunConfig:
    tree = {name: dict(value) if isinstance(value, dict) else value for name, value in BASE.items()}
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        (tree[section] if section else tree)[name] = value
    return RunConfig.model_validate(tree)


def recorded(config: RunConfig, tokenizer: str | None = "0" * 64) -> CheckpointManifest:
    update = {"model": config.model, "tokenizer": tokenizer, "config": config.model_dump(mode="json")}
    return manifest_of(5).model_copy(update=update)


def check(manifest: CheckpointManifest, config: RunConfig, tokenizer: str = "0" * 64) -> None:
    assert config.model is not None
    require_same_model(Path("step00000005"), manifest, config, config.model, tokenizer)


@pytest.mark.parametrize("key", [key for key in IDENTITY_KEYS if key != "tokenizer"])
def test_each_key_of_architecture_and_objective_is_compared(key: str) -> None:
    was = getattr(MODEL, key.removeprefix("model."), None)
    now = CHANGED.get(key) or 2 * int(was or 0)
    manifest = recorded(recipe())
    with pytest.raises(UserError) as error:
        check(manifest, recipe(**{key: now}))
    assert f"step00000005: this checkpoint belongs to another model than the recipe's: {key} was " in str(error.value)
    assert f"--set 'allow_changed=[{key}]'" in str(error.value)
    check(manifest, recipe(**{key: now, "allow_changed": [key]}))


def test_checkpoints_that_record_no_objective_are_masked() -> None:
    manifest = recorded(recipe())
    del manifest.config["schedule"]["objective"]
    check(manifest, recipe())
    with pytest.raises(UserError, match=r'schedule\.objective was "masked", is "causal"'):
        check(manifest, recipe(**{"schedule.objective": "causal"}))


def test_all_differences_are_one_error_and_a_permitted_one_permits_no_other() -> None:
    changes = {"model.local_attention": 64, "model.norm_eps": 1e-6, "data.masking": "span"}
    with pytest.raises(UserError) as error:
        check(recorded(recipe()), recipe(**changes, allow_changed=["model.norm_eps"]), "1" * 64)
    for text in ("model.local_attention was 128, is 64", 'data.masking was "token", is "span"', "tokenizer was"):
        assert text in str(error.value)
    assert "model.norm_eps was" not in str(error.value)
    assert "allow_changed=[model.norm_eps, model.local_attention, tokenizer, data.masking]" in str(error.value)


def test_every_field_of_the_architecture_is_compared_or_decides_only_what_a_model_starts_from() -> None:
    free = {name for name in ModelConfig.model_fields if f"model.{name}" not in IDENTITY_KEYS}
    assert free == {"initializer_range", "initializer_cutoff_factor"}


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer.lr": 1e-4, "optimizer.weight_decay": 0.1},
        {"batch.micro_batch_size": 2, "run_dir": "runs/moved", "data.path": "s3://bucket/packs", "data.cache": "c"},
        {"schedule.total_tokens": 200_000, "schedule.restarts": [100_000], "schedule.decay_tokens": 7},
        {"checkpoint": {"keep_last": 1}, "metrics": {"tensorboard": False}, "engine": {"zero_stage": 1}},
        {"model.initializer_range": 0.1},
    ],
)
def test_what_leaves_the_model_as_it_is_changes_freely(changes: dict[str, Any]) -> None:
    check(recorded(recipe()), recipe(**changes))


def test_a_manifest_of_an_earlier_version_is_compared_by_what_it_records() -> None:
    old = recorded(recipe(), tokenizer=None).model_copy(update={"config": {"model": None}})
    check(old, recipe(**{"data.masking": "span"}))
    with pytest.raises(UserError, match=r"model\.norm_eps was 1e-05, is 1e-06"):
        check(old, recipe(**{"model.norm_eps": 1e-6}))
    check(recorded(recipe()), recipe(), tokenizer="")


def test_an_unknown_key_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValueError, match=r"did you mean model\.num_hidden_layers\?"):
        recipe(allow_changed=["model.num_hiden_layers"])


def test_pruning_keeps_the_newest_checkpoint_before_every_change(tmp_path: Path) -> None:
    layers = {2: 5, 4: 5, 6: 3, 8: 3, 10: 3, 12: 2, 14: 2, 16: 2}
    for step, count in layers.items():
        directory = tmp_path / files.directory_name(step)
        directory.mkdir()
        write_manifest(directory, recorded(recipe(**{"model.num_hidden_layers": count})))
    assert [files.step_of(path) for path in files.prune(tmp_path, keep_last=1)] == [16, 10, 4]


@pytest.mark.ranks
@pytest.mark.slow
def test_a_changed_run_is_refused_or_continues_without_removing_what_it_replaces(copy: SmallRun) -> None:
    before = {path.name: read_manifest(path).model.num_hidden_layers for path in checkpoints(copy)}
    assert before == {"step00000012": 3, "step00000008": 3, "step00000004": 3}
    change = ("model.num_hidden_layers=2", "schedule.total_tokens=20480")
    output = copy.train(*change, code=2)
    assert "model.num_hidden_layers was 3, is 2" in output
    assert "Traceback" not in output
    copy.train(*change, "allow_changed=[model.num_hidden_layers]", "checkpoint.keep_last=1")
    after = [(path.name, read_manifest(path).model.num_hidden_layers) for path in checkpoints(copy)]
    assert after[-1] == ("step00000012", 3)
    assert {layers for _, layers in after[:-1]} == {2}
    assert len(after) == 2


@pytest.mark.ranks
@pytest.mark.slow
def test_another_optimizer_is_refused_or_starts_with_a_state_of_its_own(copy: SmallRun) -> None:
    """What it continues has the other optimizer's moments, of which embeddings, norms and the head would have some."""
    change = ("optimizer.name=muon", "schedule.total_tokens=16384", "checkpoint.every_steps=2")
    output = copy.train(*change, code=2)
    assert 'optimizer.name was "stable_adamw", is "muon"' in output
    permitted = (*change, "allow_changed=[optimizer.name]")
    output = copy.train(*permitted, ranks=2)
    assert "the state of optimizer stable_adamw is not used: muon starts with a new one, at its step 1" in output
    last = copy.newest_checkpoint()
    assert read_manifest(last).optimizer_step == 4  # of 16
    with ShardReader(last, read_manifest(last)) as saved:
        kinds = {name: saved.keys(saved.whole(name)) for name in saved.shapes}
    assert kinds["model.layers.0.attn.Wqkv.weight"] == {"fp32", "momentum"}
    assert kinds["head.dense.weight"] == {"fp32", "exp_avg", "exp_avg_sq"}
    expected = copy.rows()
    shutil.rmtree(last)
    assert "is not used" not in copy.train(*permitted, ranks=2)
    assert [row["loss"] for row in copy.rows()] == [row["loss"] for row in expected]


def checkpoints(run: SmallRun) -> list[Path]:
    return files.list_checkpoints(run.run_dir / "checkpoints")
