"""The directory of a run that never ran: files as training and its launchers write them, of any length."""

import json
import math
from pathlib import Path

from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.training.checkpoint.manifest import CheckpointManifest, FileEntry, SourceTerms, write_manifest
from clinical_modernbert.training.checkpoint.progress import Progress
from clinical_modernbert.training.metrics.csv_log import RowLog
from clinical_modernbert.training.metrics.writer import MixMetrics, StepMetrics, ValidationMetrics

SOURCES = {"notes": 0.7, "codes": 0.3}
MODEL = ModelConfig(
    vocab_size=128,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=2,
    pad_token_id=0,
    cls_token_id=1,
    sep_token_id=2,
)
RECIPE = """
run_dir: runs/written
initial_weights: models/start
data: {{path: packs, seq_length: 1000}}
batch: {{global_batch_size: 4}}
schedule:
  total_tokens: {tokens}
  warmup_tokens: 40000
  seq_length: [{{max_seqlen: 500, until_tokens: 100000}}, {{max_seqlen: 1000}}]
optimizer: {{lr: 2e-3}}
metrics: {{mlflow_uri: "https://user:secret@mlflow.example"}}
"""


def loss_of(step: int) -> float:
    return 2 + 6 * math.exp(-step / 20)


def write_run(run_dir: Path, steps: int, planned: int | None = None) -> Path:
    """Write `steps` of `planned` steps, in two attempts: the first was killed, the second has no recorded end."""
    run_dir.mkdir(parents=True)
    (run_dir / "config.yaml").write_text(RECIPE.format(tokens=4000 * (planned or steps)))
    metrics, mix = RowLog(run_dir / "metrics.csv", StepMetrics, 0), RowLog(run_dir / "mix.csv", MixMetrics, 0)
    validation = RowLog(run_dir / "validation.csv", ValidationMetrics, 0)
    for step in range(1, steps + 1):
        metrics.write(_step(step))
        for source, share in SOURCES.items():
            mix.write(MixMetrics(step, source, int(4000 * step * share), share, share + 0.001))
            if step % 20 == 0:
                validation.write(ValidationMetrics(step, source, loss_of(step) + share, 0.25, 100, 0.125, 40))
    for log in (metrics, mix, validation):
        log.close()
    (run_dir / "attempts").mkdir()
    for number, step in ((1, 0), (2, steps // 2)):
        start = {"started": f"2026-01-0{number}T10:00:05+00:00", "step": step, "world_size": 2, "hosts": ["node7"]}
        (run_dir / "attempts" / f"{number:05d}.json").write_text(json.dumps(start))
    lines = [
        {"time": "2026-01-01T10:00:00+00:00", "event": "started", "launcher": "local", "job": None, "nodes": "node7"},
        {"event": "ended", "launcher": "local", "code": 137, "reason": "killed by signal 9"},
        {"time": "2026-01-02T10:00:00+00:00", "event": "started", "launcher": "local", "job": None, "nodes": "node7"},
    ]
    (run_dir / "launches.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run_dir


def write_checkpoint(run_dir: Path, step: int, licence: str = "public domain") -> Path:
    """Write a checkpoint that has a manifest only, without any weights."""
    directory = run_dir / "checkpoints" / f"step{step:08d}"
    directory.mkdir(parents=True)
    write_manifest(directory, manifest_of(step, licence))
    return directory


def manifest_of(step: int, licence: str = "public domain") -> CheckpointManifest:
    return CheckpointManifest(
        step=step,
        world_size=2,
        optimizer_step=step,
        files={"rank00000-of-00001.safetensors": FileEntry(bytes=3 << 20, xxh3_128=("0",))},
        progress=Progress(step=step, packs=4 * step, tokens=4000 * step),
        attempt=1,
        model=MODEL,
        data={"sources": {source: f"hash of {source}" for source in SOURCES}},
        data_manifest="d85dd2",
        data_address="packs",
        sources={source: SourceTerms(licence=licence, synthetic=False) for source in SOURCES},
        config={},
        python="3.11.7",
        packages={"torch": "2.13.0"},
        git_revision="1131e88",
        validation_loss=loss_of(step),
    )


def _step(step: int) -> StepMetrics:
    return StepMetrics(
        step=step,
        tokens=4000 * step,
        loss=loss_of(step),
        accuracy=1 / loss_of(step),
        grad_norm=0.5,
        lr=min(2e-3, 2e-4 * step),
        mlm_probability=0.3,
        max_seqlen=500 if step <= 25 else 1000,
        masked=1200,
        tokens_per_second=8000.0,
        flops=1e9,
        mfu=0.4,
        data_wait=0.001,
        data_wait_share=0.002,
        peak_memory=1.5,
        loss_scale=1.0,
        skipped_steps=0,
        data_digest="0",
    )
