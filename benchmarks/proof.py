"""The learning proof: small models trained from scratch on a CPU beat their initialization and a bag of subwords.

    CMBERT_TEST_DATA=data python benchmarks/proof.py [--runs 1] [--out runs/proof]

A run trains a model from each of three seeds; the next run has three other seeds, and every claim must hold in each. It
uses the cmbert commands in the order of a user's workflow and writes the tables in docs/proof.md. Existing results in
`--out` are reused. docs/proof.md lists the source of each file of the data directory.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clinical_modernbert.benchmarks.learning import models
from clinical_modernbert.benchmarks.learning.baselines import score_bag
from clinical_modernbert.benchmarks.learning.claims import Scores, decide
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.launcher.commands.demo import print_heading
from clinical_modernbert.training.metrics.writer import read_metrics

PAGE = models.REPOSITORY / "docs" / "proof.md"
BEGIN, END = "<!-- proof: begin -->", "<!-- proof: end -->"
CODE = "training model kernels streaming_data evaluation configs/proof.yaml configs/data/proof.yaml"
"""What the numbers rest on (benchmarks/measured.py)."""
FIRST_SEED, SEEDS = 17, 3
"""Of the first run, and per run."""
FINE_TUNINGS = 2
FILES = {
    "pubmed": "pubmed/*.xml.gz",
    "icd10cm": "codes/simple_icd_10_cm/icd10c-tabular-*.xml*",
    "icd9": "codes/cms/CMS32_DESC_LONG_DX.txt*",
    "code list": "codes/cms/icd10cm-codes-*.txt*",
    "crosswalk": "codes/cms/*toicd10cmgem.csv*",
    "ner train": "eval/NCBI-disease-IOB/train.tsv*",
    "ner test": "eval/NCBI-disease-IOB/test.tsv*",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("CMBERT_TEST_DATA"), help="or CMBERT_TEST_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/proof"))
    parser.add_argument("--runs", type=int, default=1, help="runs of three seeds each")
    parser.add_argument("--set", action="append", default=[], help="overrides of the recipe `proof`, for a small trial")
    parser.add_argument("--page", type=Path, default=PAGE, help="file in which the tables are written")
    options = parser.parse_args()
    runs = [range(first, first + SEEDS) for first in range(FIRST_SEED, FIRST_SEED + SEEDS * options.runs, SEEDS)]
    lines, proven = prove(find_files(options.data), options.out, runs, options.set)
    write_page(options.page, lines)
    return 0 if proven else 1


def prove(files: dict[str, list[Path]], out: Path, runs: Sequence[range], extra: list[str]) -> tuple[list[str], bool]:
    """Train and score all models. Returns the lines of the page, and whether every claim holds in every run."""
    models.prepare(files, out)
    tasks = write_tasks(files, out)
    for seed in (seed for seeds in runs for seed in seeds):
        models.train(out, seed, extra)
        evaluate(tasks, models.directory(out, seed))
    print_heading("5. The bag of subwords")
    first = runs[0][0]
    initial, config = models.directory(out, first) / "initial", models.recipe(out, first, extra)
    bag = score_bag(tasks, initial, config, out / "bag.json")
    commits = sorted({models.made(out, seed)[0] for seeds in runs for seed in seeds})
    lines, proven = [f"<!-- measured: {' '.join(commits)} | {CODE} | make proof -->", ""], True
    for number, seeds in enumerate(runs, 1):
        trained, before = ([read_scores(out, seed, model) for seed in seeds] for model in ("trained", "initial"))
        table, holds = decide(trained, before, bag)
        lines += [f"Run {number}, seeds {', '.join(map(str, seeds))}:", "", *table]
        proven &= holds
    return [*lines, facts(out, runs)], proven


def find_files(
    data: str | None, patterns: Mapping[str, str] = FILES, page: str = "docs/proof.md"
) -> dict[str, list[Path]]:
    """Find the files of each kind in the data directory; `page` lists their sources."""
    if not data:
        raise UserError(f"set CMBERT_TEST_DATA to the data directory; {page} lists its files")
    files = {kind: sorted(Path(data).glob(pattern)) for kind, pattern in patterns.items()}
    if missing := [patterns[kind] for kind, paths in files.items() if not paths]:
        raise UserError(f"{data}: no {', no '.join(missing)}; {page} lists where to download them")
    return files


def write_tasks(files: dict[str, list[Path]], out: Path) -> dict[str, Path]:
    """Write task files that extend the packaged ones. A model this small needs a higher rate than the published one."""
    ner, codes = files["ner train"][0].parent, files["icd9"][0].parent
    contents: dict[str, dict[str, Any]] = {
        "masked-words": {"data": str(out / "data"), "task": {"kind": "masked_words", "packs": 24}},
        "codes": {
            "data": str(codes),
            "task": {
                "kind": "codes",
                "icd9": files["icd9"][0].name,
                "icd10": files["code list"][0].name,
                "crosswalk": files["crosswalk"][0].name,
                "vectors": ["raw", "centered", "whitened"],
            },
        },
        "ncbi-disease": {
            "data": str(ner),
            "task": {"kind": "ner", "train": files["ner train"][0].name, "test": files["ner test"][0].name},
            "protocol": {"lr": 1e-3, "epochs": 3},
        },
    }
    paths = {name: out / "tasks" / f"{name}.yaml" for name in contents}
    (out / "tasks").mkdir(exist_ok=True)
    for name, path in paths.items():
        path.write_text(yaml.safe_dump({"extends": f"evaluation/{name}", **contents[name]}))
    return paths


def evaluate(tasks: dict[str, Path], directory: Path) -> None:
    """Run `cmbert evaluate` for both models of a seed in parallel, one core each."""
    print_heading(f"4. Both models of {directory.name}, three tasks")
    command = [sys.executable, "-m", "clinical_modernbert.launcher", "evaluate"]
    options = [part for path in tasks.values() for part in ("--task", str(path))]
    options += ["--seeds", str(FINE_TUNINGS)]
    running = {
        model: subprocess.Popen(
            [*command, str(directory / model), *options, "--out", str(directory / "evaluation" / model)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for model in ("trained", "initial")
    }
    codes = {model: process.wait() for model, process in running.items()}
    if failed := [f"{model} (exit code {code})" for model, code in codes.items() if code]:
        raise UserError(f"{directory}: evaluation failed of the model {', '.join(failed)}; see above")


def read_scores(out: Path, seed: int, model: str) -> Scores:
    """Task -> score -> mean over the fine-tunings."""
    path = models.directory(out, seed) / "evaluation" / model / "results.json"
    results = json.loads(path.read_text())
    return {task: {name: score["mean"] for name, score in of[model].items()} for task, of in results.items()}


def facts(out: Path, runs: Sequence[range]) -> str:
    seeds = [seed for run in runs for seed in run]
    rows = read_metrics(models.directory(out, seeds[0]) / "run")
    manifest = json.loads((out / "data/manifest.json").read_text())
    tokens = {name: source["splits"]["train"]["tokens"] for name, source in manifest["sources"].items()}
    sizes = ", ".join(f"{name} {count / 1e6:.1f}" for name, count in tokens.items())
    minutes = sorted(models.made(out, seed)[1] for seed in seeds)
    return (
        f"Each model was trained on {rows[-1]['tokens']:,} tokens in {len(rows):,} steps, in {minutes[0]:.0f} to "
        f"{minutes[-1]:.0f} minutes on {os.cpu_count()} cores; millions of tokens in the data: {sizes}. Leads: mean "
        f"over the seeds ± half of the 95 % interval. Entities: mean of {FINE_TUNINGS} fine-tunings per seed."
    )


def write_page(page: Path, lines: list[str], begin: str = BEGIN, end: str = END) -> None:
    """Replace what is between the marks in the page, which is made if it is not there."""
    table = "\n".join([begin, *lines, end])
    print("\n" + table)
    text = page.read_text(encoding="utf-8") if page.is_file() else f"{begin}\n{end}\n"
    before, rest = text.split(begin, 1)
    page.write_text(before + table + rest.split(end, 1)[1], encoding="utf-8")


if __name__ == "__main__":
    run_program(main)
