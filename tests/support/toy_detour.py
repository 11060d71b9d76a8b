"""The detour experiment at toy size, in a process of its own whose commands are forked from it."""

import os
from pathlib import Path
from types import SimpleNamespace

from warm_start import ForkedRank

from clinical_modernbert.benchmarks import detour
from clinical_modernbert.benchmarks.learning.arms import Design
from clinical_modernbert.launcher.ranks import local

STEP = 2 * 256
TOY = Design(
    first={"codes": 1.0},
    source="notes",
    first_tokens=2 * STEP,
    tokens=12 * STEP,
    rates={"masked": (3e-3,), "detour": (3e-3,), "muon": (3e-3,)},
    most_rates=1,
    sweep_seeds=(101,),
    fewest=2,
    most=2,
)
MODEL = {"vocab_size": 128, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 2, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2}  # fmt: skip
EXTRA = ["data.seq_length=256", "schedule.seq_length=[]", *(f"model.{key}={value}" for key, value in MODEL.items())]


def toy(home: Path) -> None:
    """Run it with the data in `home/out/data` and the entities next to it; its output goes to a file."""
    with (home / "output.txt").open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    local.subprocess = SimpleNamespace(Popen=ForkedRank)  # type: ignore[assignment]
    files: dict[str, list[Path]] = {kind: [] for kind in detour.FILES}  # the data is prepared already
    files |= {f"ner {split}": [home / f"{split}.tsv"] for split in ("train", "test")}
    detour.experiment(files, home / "out", TOY, 1e9, home / "page.md", EXTRA)
