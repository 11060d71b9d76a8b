"""Every command that plans, submits or starts a run refuses each broken limit, before step 1 and before it writes."""

import json
from pathlib import Path

import pytest
from small_data import write_small_data

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app

RECIPE = """
run_dir: {root}/run
initial_weights: {root}/fitting
data: {{path: {root}/packs, seq_length: 256}}
batch: {{global_batch_size: 4}}
schedule: {{total_tokens: 100_000}}
optimizer: {{lr: 1e-3}}
engine: {{precision: fp32}}
"""
CLUSTER = """
ranks_per_node: 2
gpu: h100
kubernetes: {{image: x, volumes: {{claim: {root}}}}}
"""
COMMANDS = {
    "train": "train {root}/run.yaml --ranks 2",
    "train --plan": "train {root}/run.yaml --ranks 2 --plan",
    "plan": "plan {root}/run.yaml --gpu h100 --gpus-per-node 2",
    "launch local": "launch local {root}/run.yaml --ranks 2",
    "launch slurm": "launch slurm {root}/run.yaml --cluster {root}/cluster.yaml",
    "launch slurm --dry-run": "launch slurm {root}/run.yaml --cluster {root}/cluster.yaml --dry-run",
    "launch k8s": "launch k8s {root}/run.yaml --cluster {root}/cluster.yaml",
    "launch k8s --dry-run": "launch k8s {root}/run.yaml --cluster {root}/cluster.yaml --dry-run",
    "launch hostfile": "launch hostfile {root}/run.yaml --hostfile {root}/hosts",
}
SCRATCH = (
    "initial_weights=null",
    "model={vocab_size: 128, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 3, num_attention_heads: 2, "
    "pad_token_id: 0, cls_token_id: 1, sep_token_id: 2}",
)
LIMITS: dict[str, tuple[tuple[str, ...], str]] = {
    "positions": (("initial_weights={root}/short",), "max_position_embeddings is 64, but the run has sequences of up"),
    "positions of the last stage": (
        (
            "initial_weights={root}/short",
            "schedule.seq_length=[{max_seqlen: 64, until_tokens: 90_000}, {max_seqlen: 128}]",
        ),
        "up to 128 tokens (schedule.seq_length)",
    ),
    "positions of validation": (
        ("initial_weights={root}/short", "schedule.seq_length=[{max_seqlen: 64}]", "validation.every_steps=5"),
        "up to 256 tokens (data.seq_length, in validation)",
    ),
    "positions from scratch": ((*SCRATCH, "model.max_position_embeddings=64"), "model.max_position_embeddings is 64"),
    "stage longer than a pack": (("schedule.seq_length=[{max_seqlen: 512}]",), "max_seqlen 512, but packs hold 256"),
    "pack length": (("data.seq_length=128",), "prepared with seq_length 256, but data.seq_length is 128"),
    "vocabulary": (("initial_weights={root}/small",), "vocab_size is 100, below 128"),
    "special tokens": (("initial_weights={root}/small",), "cls_token_id is 7, not 1"),
    "special tokens from scratch": ((*SCRATCH, "model.sep_token_id=5"), "sep_token_id is 5, not 2"),
    "tokenizer": (("initial_weights={root}/other",), "was prepared with another tokenizer than that of"),
    "weights": (("initial_weights={root}/no-weights",), "no weights"),
    "width of a head": ((*SCRATCH, "model.num_attention_heads=3"), "must be divisible by num_attention_heads (3)"),
    "window": ((*SCRATCH, "model.local_attention=7"), "local_attention (7) must be even"),
    "epochs": (("data.max_epochs=1", "schedule.total_tokens=1_000_000_000"), "data.max_epochs allows only"),
    "held-out packs": (
        ("data.path={root}/no-held-out", "validation.every_steps=5"),
        "none of its sources has a pack in this split",
    ),
    "masking rate of the last steps": (
        ("schedule.mlm_probability=[[0, 0.3], [90_000, 0.0001]]",),
        "masks no token of a pack of 256",
    ),
    "code-aware masking": (("data.masking=code_aware",), "set data.masking=whole_word"),
    "batch": (("batch.global_batch_size=1",), "batch.global_batch_size (1) is less than the number of ranks"),
    "batch of an earlier stage": (
        ("batch.global_batch_size=6", "batch.warmup=[{global_batch_size: 1, until_tokens: 5000}]"),
        "batch.warmup.0.global_batch_size (1) is less than the number of ranks",
    ),
    "copies of weights": (
        ("batch.global_batch_size=6", "engine.zero_hpz_partition_size=4"),
        "zero_hpz_partition_size=4 does not divide the 2 ranks",
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("limits")
    packs = write_small_data(root / "packs", packs=4)
    write_small_data(root / "no-held-out", packs=4)
    manifest = json.loads((root / "no-held-out/manifest.json").read_text())
    for source in manifest["sources"].values():
        source["splits"].pop("held_out", None)
    (root / "no-held-out/manifest.json").write_text(json.dumps(manifest))
    tokenizer = {file.name: file.read_text() for file in (packs / "tokenizer").iterdir()}
    config = {"model_type": "modernbert", "vocab_size": 128, "hidden_size": 32, "intermediate_size": 48}
    config |= {"num_hidden_layers": 3, "num_attention_heads": 2}
    config |= {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2}
    renamed = tokenizer["tokenizer.json"].replace("w9", "x9")
    models: dict[str, tuple[dict[str, object], dict[str, str]]] = {
        "fitting": ({}, {"model.safetensors": ""}),
        "short": ({"max_position_embeddings": 64}, {"model.safetensors": ""}),
        "small": ({"vocab_size": 100, "cls_token_id": 7}, {"model.safetensors": ""}),
        "other": ({}, {"model.safetensors": "", "tokenizer.json": renamed}),
        "no-weights": ({}, {}),
    }
    for name, (changes, files) in models.items():
        (root / name).mkdir()
        for file, text in {"config.json": json.dumps(config | changes), **tokenizer, **files}.items():
            (root / name / file).write_text(text)
    (root / "small" / "tokenizer.json").unlink()  # its ids are all that tells it from a model of this tokenizer
    (root / "run.yaml").write_text(RECIPE.format(root=root))
    (root / "cluster.yaml").write_text(CLUSTER.format(root=root))
    (root / "hosts").write_text("nowhere slots=2\n")
    return root


def with_settings(root: Path, command: str, settings: tuple[str, ...]) -> list[str]:
    given = (part for text in settings for part in ("--set", text.replace("{root}", str(root))))
    return [*COMMANDS[command].format(root=root).split(), *given]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_broken_limit_is_refused_by_every_command(root: Path, command: str, limit: str) -> None:
    settings, words = LIMITS[limit]
    before = sorted(root.rglob("*"))
    with pytest.raises(UserError) as error:
        app(with_settings(root, command, settings))
    assert words in str(error.value)
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("command", ["train --plan", "plan", "launch slurm --dry-run", "launch k8s --dry-run"])
def test_a_fitting_run_is_not_refused(root: Path, command: str) -> None:
    assert not app(COMMANDS[command].format(root=root).split(), standalone_mode=False)


@pytest.mark.parametrize("command", ["plan", "launch slurm --dry-run", "launch k8s --dry-run"])
def test_files_that_only_the_ranks_have_are_left_to_them(root: Path, command: str) -> None:
    arguments = with_settings(root, command, (*SCRATCH, "data.path={root}/elsewhere"))
    assert not app(arguments, standalone_mode=False)


def test_all_broken_limits_are_one_error(root: Path) -> None:
    settings = ("initial_weights={root}/small", "batch.global_batch_size=1", "schedule.mlm_probability=[[0, 0.0001]]")
    with pytest.raises(UserError) as error:
        app(with_settings(root, "train", settings))
    for words in ("vocab_size is 100", "(1) is less than the number", "masks no token"):
        assert words in str(error.value)
