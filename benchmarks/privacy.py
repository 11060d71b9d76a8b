"""Exposure of canaries against repeats, passes over the data, and deduplication; membership against passes.

    python benchmarks/privacy.py [--out runs/privacy] [--page docs/privacy.md]

Runs the cmbert commands on two cores, and writes the tables of docs/privacy.md. After an
interruption the same command continues; finished runs are not repeated.

- `planted`: `data prepare` plants 50 canaries per level in synthetic radiology reports; one run of 20 epochs, whose
  checkpoints after 1 and 20 are attacked.
- `copied`, `deduplicated`: reports with one canary each, copied forward up to 16 times with another date, prepared
  without and with `near_duplicates`; 20 epochs each.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import yaml

from clinical_modernbert.benchmarks.proof import write_page
from clinical_modernbert.benchmarks.record import describe_machine
from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.evaluation.privacy.report import Estimate, PrivacyReport, read_report
from clinical_modernbert.streaming_data.canaries.file import CanaryFile, canary_file, count_kept, write_canaries
from clinical_modernbert.streaming_data.canaries.identifiers import Canary, make_canaries
from clinical_modernbert.streaming_data.canaries.planting import plant
from clinical_modernbert.streaming_data.shards.manifest import manifest_hash, read_manifest
from clinical_modernbert.streaming_data.shards.mds import PackReader
from clinical_modernbert.streaming_data.synthetic.notes import generate
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.training.checkpoint.files import directory_name

PAGE = Path(__file__).resolve().parents[1] / "docs" / "privacy.md"
BEGIN, END = "<!-- privacy: begin -->", "<!-- privacy: end -->"
CODE = "evaluation/privacy streaming_data/canaries training model kernels"
EPOCHS = (1, 20)
LEVELS = (0, 1, 2, 4, 8, 16)
SEQ_LENGTH, BATCH = 1024, 4
COLUMNS = ("note_id", "patient", "text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/privacy"))
    parser.add_argument("--page", type=Path, default=PAGE, help="file in which the tables are written")
    parser.add_argument("--reports", type=int, default=300, help="radiology reports of the first arm")
    parser.add_argument("--canaries", type=int, default=50, help="per level; of the copied arms a fourth")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    reports = [row for row in islice(generate(5), 4 * options.reports) if row["note_type"] == "RR"]
    train_tokenizer([row["text"] for row in reports], out / "tokenizer")
    planted = arm_planted(out / "planted", reports[: options.reports], options.canaries)
    copied = arms_copied(out, reports[options.reports :], max(2, options.canaries // 4))
    lines = [f"<!-- measured: {revision()} | {CODE} | python benchmarks/privacy.py -->", ""]
    lines += [*exposure_table(planted), *membership_table(planted), *copied_table(copied), describe_machine() + "."]
    write_page(options.page, lines, BEGIN, END)


def train_tokenizer(texts: Sequence[str], directory: Path) -> None:
    """Its vocabulary has no canary, as that of a published model."""
    if not directory.exists():
        tokenizers.train(texts, 2048, directory)


def arm_planted(out: Path, reports: Sequence[dict[str, str]], count: int) -> dict[int, PrivacyReport]:
    """By epochs: the report of a checkpoint."""
    out.mkdir(exist_ok=True)
    write_notes(out / "notes.csv", [(row["note_id"], row["subject_id"], row["text"]) for row in reports])
    recipe = data_recipe(out, held_out=0.4) | {"privacy": {"canaries": {"sources": ["notes"], "count": count}}}
    prepare(out, recipe)
    steps = train(out)
    for epochs in EPOCHS:
        attack(out, directory_name(steps * epochs), with_data=True)
    return {epochs: read_report(out / "run/privacy" / directory_name(steps * epochs)) for epochs in EPOCHS}


def arms_copied(out: Path, reports: Sequence[dict[str, str]], count: int) -> dict[str, PrivacyReport]:
    """By arm: the report of the last checkpoint."""
    canaries = make_canaries(9, count, LEVELS)
    found = {}
    for name, near in (("copied", None), ("deduplicated", {"sources": ["notes"]})):
        directory = out / name
        directory.mkdir(exist_ok=True)
        write_notes(directory / "notes.csv", copied_notes(reports, canaries))
        prepare(directory, data_recipe(directory, held_out=0.0) | {"near_duplicates": near})
        list_canaries(directory / "data", canaries)
        step = directory_name(train(directory) * EPOCHS[-1])
        attack(directory, step, with_data=False)
        found[name] = read_report(directory / "run/privacy" / step)
    return found


def copied_notes(reports: Sequence[dict[str, str]], canaries: Sequence[Canary]) -> list[tuple[str, str, str]]:
    """One report per canary, copied as often as its level says, each with another date; controls are in none."""
    rows: list[tuple[str, str, str]] = []
    for number, canary in enumerate(canaries):
        text = plant(reports[number]["text"], str(number), [canary.line])
        copies = [f"{text}\nSigned on day {copy + 1}." for copy in range(canary.repeats)]
        rows += [(f"{number}-{copy}", str(number), content) for copy, content in enumerate(copies)]
    return rows


def list_canaries(data: Path, canaries: Sequence[Canary]) -> None:
    """The list that `data prepare` would have written, with what is left after deduplication."""
    if canary_file(data).exists():
        return
    reader, kept = PackReader(str(data / "notes/train")), list[str]()
    for number in range(len(reader)):
        kept += reader[number].doc_ids
    held = [canaries[int(name.partition("-")[0])].line for name in dict.fromkeys(kept)]
    identity = manifest_hash(read_manifest(str(data)))
    write_canaries(CanaryFile(data=identity, recipe="", canaries=count_kept(canaries, held)), canary_file(data))


def write_notes(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    if not path.exists():
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([COLUMNS, *rows])


def data_recipe(out: Path, held_out: float) -> dict[str, object]:
    source = {"name": "notes", "format": "table", "paths": [str(out / "notes.csv")], "id": "note_id",
              "split_by": "patient", "licence": "made by a program", "synthetic": True, "public": True}  # fmt: skip
    return {
        "output": str(out / "data"),
        "tokenizer": str(out.parent / "tokenizer"),
        "seq_length": SEQ_LENGTH,
        "held_out": held_out,
        "workers": 1,
        "sources": [source],
    }


def prepare(out: Path, recipe: dict[str, object]) -> None:
    if not (out / "data/manifest.json").exists():
        (out / "data.yaml").write_text(yaml.safe_dump(recipe))
        cmbert("data", "prepare", str(out / "data.yaml"))


def train(out: Path) -> int:
    """Train the demo's model, with a checkpoint per epoch, and return the steps of an epoch."""
    packs = read_manifest(str(out / "data")).sources["notes"].splits["train"].packs
    steps = -(-packs // BATCH)
    recipe = {
        "extends": "tiny",
        "run_dir": str(out / "run"),
        "model": {"vocab_size": 2048},
        "data": {"path": str(out / "data"), "seq_length": SEQ_LENGTH, "weights": None},
        "batch": {"global_batch_size": BATCH, "micro_batch_size": BATCH},
        "schedule": {
            "total_tokens": steps * BATCH * SEQ_LENGTH * EPOCHS[-1],
            "warmup_tokens": steps * BATCH * SEQ_LENGTH,
            "decay_tokens": steps * BATCH * SEQ_LENGTH * 2,
            "seq_length": [{"max_seqlen": SEQ_LENGTH}],
            "mlm_probability": [[0, 0.3]],
        },
        "checkpoint": {"every_steps": steps, "keep_last": EPOCHS[-1]},
        "validation": {"every_steps": 0},
        "metrics": {"tensorboard": False},
    }
    (out / "run.yaml").write_text(yaml.safe_dump(recipe))
    if not (out / "run/checkpoints" / directory_name(steps * EPOCHS[-1])).exists():
        cmbert("train", str(out / "run.yaml"), "--ranks", "1")
    return steps


def attack(out: Path, checkpoint: str, with_data: bool) -> None:
    data = ["--data", str(out / "data")] if with_data else ["--canaries", str(canary_file(out / "data"))]
    cmbert("privacy", str(out / "run"), "--checkpoint", checkpoint, *data)


def cmbert(*arguments: str) -> None:
    print("$ cmbert", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "clinical_modernbert.launcher", *arguments], check=True)


def exposure_table(reports: dict[int, PrivacyReport]) -> list[str]:
    """Exposure by repeats and epochs, and in the untrained model."""
    sections = {epochs: report.exposure for epochs, report in reports.items() if report.exposure}
    last = sections[EPOCHS[-1]]
    columns = [f"{epochs} epoch{'s' if epochs > 1 else ''}" for epochs in sections]
    rows = [
        [
            str(level.repeats),
            *(_interval(section.levels[at].exposure) for section in sections.values()),
            f"{level.first} of {level.canaries}",
            _interval(level.screened),
            _interval(level.untrained) if level.untrained else "-",
        ]
        for at, level in enumerate(last.levels)
    ]
    trends = ["trend (p)", *(f"{s.trend:.2f} ({s.trend_p:.4f})" for s in sections.values()), "", "",
              f"{last.untrained_trend:.2f}"]  # fmt: skip
    return _table(["repeats", *columns, f"first of {last.alternatives + 1}", "masked together", "untrained"],
                  [*rows, trends])  # fmt: skip


def membership_table(reports: dict[int, PrivacyReport]) -> list[str]:
    rows = []
    for epochs, report in reports.items():
        for attack in report.membership.attacks if report.membership else ():
            best = attack.patients or attack.documents
            name = f"less {attack.reference}" if attack.score == "reference" else attack.score
            rows.append([str(epochs), f"{name}, {attack.model}", f"{best.members} and {best.others}",
                         _interval(best.auc), _interval(best.tpr) if best.tpr else "-"])  # fmt: skip
    return _table(["epochs", "score", "patients", "AUC", "TPR at 1 % FPR"], rows)


def copied_table(reports: dict[str, PrivacyReport]) -> list[str]:
    sections = {name: report.exposure for name, report in reports.items() if report.exposure}
    first = next(iter(sections.values()))
    rows = [
        [str(level.repeats), *(part for section in sections.values() for part in (
            f"{section.levels[at].kept:g}", _interval(section.levels[at].exposure)))]
        for at, level in enumerate(first.levels)
    ]  # fmt: skip
    return _table(["copies", *(part for name in sections for part in (f"in {name}", f"exposure, {name}"))], rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *rows)] + [""]


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def revision() -> str:
    command = ["git", "-C", str(PAGE.parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    run_program(main)
