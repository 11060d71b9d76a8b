"""The learning proof: a small model trained from scratch on a CPU beats its initialization and a bag of subwords.

    CMBERT_TEST_DATA=data python benchmarks/proof.py [--out runs/proof]

It runs the cmbert commands in the order of a user's workflow and writes the table in docs/proof.md. Existing results in
`--out` are reused. docs/proof.md lists the source of each file of the data directory.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from statistics import fmean
from typing import Any, NamedTuple

import torch
import yaml

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.configs.reporting import report_error
from clinical_modernbert.evaluation.bag_of_subwords import score_bag_of_entities, tfidf, train_cbow
from clinical_modernbert.evaluation.formats.iob import read_iob
from clinical_modernbert.evaluation.models.model import EvaluatedModel, open_model
from clinical_modernbert.evaluation.results import deviation
from clinical_modernbert.evaluation.suite import Evaluation, Scores
from clinical_modernbert.evaluation.tasks.code_structure import CodesTask, read_systems, structure
from clinical_modernbert.evaluation.tasks.masked_words import MaskedWordsTask, run_masked_words
from clinical_modernbert.evaluation.tasks.ner import NerTask
from clinical_modernbert.launcher.commands.demo import print_heading, run
from clinical_modernbert.model.hugging_face import write_pretrained
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.storage.files import stage_directory
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.training.metrics.writer import read_metrics
from clinical_modernbert.training.recipe.config import RunConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "proof.md"
BEGIN, END = "<!-- proof: begin -->", "<!-- proof: end -->"
SEEDS = 3
FILES = {
    "pubmed": "pubmed/*.xml.gz",
    "icd10cm": "codes/simple_icd_10_cm/icd10c-tabular-*.xml*",
    "icd9": "codes/cms/CMS32_DESC_LONG_DX.txt*",
    "code list": "codes/cms/icd10cm-codes-*.txt*",
    "crosswalk": "codes/cms/*toicd10cmgem.csv*",
    "ner train": "eval/NCBI-disease-IOB/train.tsv*",
    "ner test": "eval/NCBI-disease-IOB/test.tsv*",
}


class Claim(NamedTuple):
    """Margins by which the trained model must beat its initialization and the bag of subwords; None: only reported."""

    task: str
    score: str
    over_initial: float | None
    over_bag: float | None


CLAIMS = [
    Claim("masked-words", "pubmed top1", 0.15, 0.03),
    Claim("masked-words", "pubmed word", 0.15, 0.03),
    Claim("masked-words", "icd10cm top1", 0.30, 0.10),
    Claim("masked-words", "icd9 top1", 0.30, 0.05),
    Claim("ncbi-disease", "f1", 0.05, 0.03),
    Claim("codes", "icd9 bare purity", 0.05, 0.10),
    Claim("codes", "icd10 bare purity", 0.03, 0.20),
    Claim("codes", "icd9 description purity", None, None),
    Claim("codes", "icd10 description purity", None, None),
    Claim("codes", "crosswalk description mrr", None, None),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("CMBERT_TEST_DATA"), help="or CMBERT_TEST_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/proof"))
    parser.add_argument("--set", action="append", default=[], help="overrides of the recipe `proof`, for a small trial")
    parser.add_argument("--page", type=Path, default=PAGE, help="file in which the table is written")
    options = parser.parse_args()
    try:
        files = find_files(options.data)
        started, fresh = time.monotonic(), not options.out.exists()
        seconds = train(files, options.out, options.set)
        tasks = write_tasks(files, options.out)
        scores = evaluate(tasks, options.out)
        print_heading("6. The bag of subwords")
        bag = score_bag(tasks, options.out, load(RunConfig, find_recipe("proof"), overrides(options.out, options.set)))
        lines, proven = report(scores, bag)
        lines.append(facts(options.out, seconds))
        lines += [f"Total time: {(time.monotonic() - started) / 60:.0f} minutes."] * fresh
        write_page(options.page, lines)
    except UserError as error:
        report_error(error)
        return 2
    return 0 if proven else 1


def find_files(data: str | None) -> dict[str, list[Path]]:
    """Find the files of each kind in the data directory."""
    if not data:
        raise UserError("set CMBERT_TEST_DATA to the data directory; docs/proof.md lists its files")
    files = {kind: sorted(Path(data).glob(pattern)) for kind, pattern in FILES.items()}
    if missing := [FILES[kind] for kind, paths in files.items() if not paths]:
        raise UserError(f"{data}: no {', no '.join(missing)}; docs/proof.md lists where to download them")
    return files


def overrides(out: Path, extra: list[str]) -> list[str]:
    return [f"data.path={out / 'data'}", f"run_dir={out / 'run'}", *extra]


def train(files: dict[str, list[Path]], out: Path, extra: list[str]) -> float:
    """Prepare data and a tokenizer, train, and save the initial model. Returns the seconds that training took."""
    settings = [f"output={out / 'data'}", f"tokenizer={out / 'tokenizer'}"]
    for number, kind in enumerate(("pubmed", "icd10cm", "icd9")):
        settings.append(f"sources.{number}.paths={json.dumps([str(path) for path in files[kind]])}")
    corpora = ["data/proof", *(part for setting in settings for part in ("--set", setting))]
    print_heading("1. A tokenizer of 4,096 subwords")
    run(["tokenizer", "train", *corpora, "--vocab-size", "4096"], unless=out / "tokenizer")
    print_heading("2. PubMed abstracts and code tables in packs")
    run(["data", "prepare", *corpora], unless=out / "data/manifest.json")
    print_heading("3. Training from scratch")
    started = time.monotonic()
    settings = [part for setting in overrides(out, extra) for part in ("--set", setting)]
    run(["train", "proof", "--ranks", "2", *settings], unless=out / "trained")
    seconds = time.monotonic() - started
    run(["export", str(out / "run"), "--out", str(out / "trained")], unless=out / "trained")
    print_heading("4. The same model before its first step")
    if not (out / "initial").exists():
        save_initial(load(RunConfig, find_recipe("proof"), overrides(out, extra)), out / "initial")
    return seconds


def save_initial(config: RunConfig, directory: Path) -> None:
    assert config.model is not None
    model = MaskedLM(config.model)
    initialize(model, config.seed)
    with stage_directory(directory) as staging:
        write_pretrained(model.state_dict(), config.model, staging)
        copytree(config.run_dir / "tokenizer", staging, dirs_exist_ok=True)


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


def evaluate(tasks: dict[str, Path], out: Path) -> dict[str, Any]:
    """Run `cmbert evaluate` for both models in parallel, one core each: model -> task -> score -> mean and values."""
    print_heading("5. Both models, three tasks, three seeds of fine-tuning")
    command = [sys.executable, "-m", "clinical_modernbert.launcher", "evaluate"]
    task_options = [part for path in tasks.values() for part in ("--task", str(path))]
    running = {
        model: subprocess.Popen(
            [
                *command,
                str(out / model),
                *task_options,
                "--seeds",
                str(SEEDS),
                "--out",
                str(out / "evaluation" / model),
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for model in ("trained", "initial")
    }
    for model, process in running.items():
        if code := process.wait():
            raise UserError(f"evaluation of the {model} model failed with exit code {code}; see above")
    results = {model: json.loads((out / "evaluation" / model / "results.json").read_text()) for model in running}
    return {model: {task: scores[task][model] for task in tasks} for model, scores in results.items()}


def score_bag(tasks: dict[str, Path], out: Path, config: RunConfig) -> dict[str, Scores]:
    path = out / "evaluation" / "bag.json"
    if path.is_file():
        saved: dict[str, Scores] = json.loads(path.read_text())
        return saved
    torch.set_num_threads(2)
    evaluations = {name: load(Evaluation, file) for name, file in tasks.items()}
    model = open_model(str(out / "initial"))
    scores = {
        "masked-words": _bag_of_masked_words(model, evaluations["masked-words"], config),
        "ncbi-disease": _bag_of_entities(model, evaluations["ncbi-disease"]),
        "codes": _bag_of_codes(model, evaluations["codes"]),
    }
    path.write_text(json.dumps(scores, indent=1))
    return scores


def _bag_of_masked_words(model: EvaluatedModel, evaluation: Evaluation, config: RunConfig) -> Scores:
    """Train on the packs of the training run, in the same order and steps, with the same masking rate."""
    assert isinstance(evaluation.task, MaskedWordsTask)
    packs = config.schedule.total_tokens // config.data.seq_length
    rate = config.schedule.mlm_probability[0][1]
    logits = train_cbow(open_dataset(config.data, config.seed), packs, config.batch.global_batch_size, rate, seed=0)
    baseline = replace(model, open_masked_lm=lambda: logits)
    return run_masked_words(baseline, evaluation.task, evaluation.data, evaluation.protocol, 0)


def _bag_of_entities(model: EvaluatedModel, evaluation: Evaluation) -> Scores:
    assert isinstance(evaluation.task, NerTask)
    train, test = (read_iob(evaluation.data / name) for name in evaluation.task.files())
    return score_bag_of_entities(model, train, test)


def _bag_of_codes(model: EvaluatedModel, evaluation: Evaluation) -> Scores:
    assert isinstance(evaluation.task, CodesTask)
    systems = read_systems(evaluation.task, evaluation.data)
    corpus = [code.description for code in systems.icd10]
    return structure(systems, lambda texts: tfidf(model, corpus, texts))


def report(scores: dict[str, Any], bag: dict[str, Scores]) -> tuple[list[str], bool]:
    """Return the table as Markdown lines, and whether every claim holds."""
    lines = [
        "| task | score | trained | initialization | bag of subwords | margins claimed | held |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    proven = True
    for claim in CLAIMS:
        trained, initial = (scores[model][claim.task][claim.score]["values"] for model in ("trained", "initial"))
        baseline = bag[claim.task][claim.score]
        leads = [fmean(trained) - fmean(initial), fmean(trained) - baseline]
        margins = [claim.over_initial, claim.over_bag]
        held = all(margin is None or lead >= margin for lead, margin in zip(leads, margins, strict=True))
        proven &= held
        claimed = ", ".join(f"+{margin:.2f}" for margin in margins if margin is not None)
        verdict = ("yes" if held else "NO") if claimed else ""
        numbers = [_cell(trained), _cell(initial), f"{baseline:.3f}"]
        lines.append(f"| {' | '.join([claim.task, claim.score, *numbers, claimed or 'none', verdict])} |")
    return [*lines, ""], proven


def _cell(values: list[float]) -> str:
    spread = deviation(values)
    return f"{fmean(values):.3f}" + ("" if spread is None else f" ± {spread:.3f}")


def facts(out: Path, seconds: float) -> str:
    rows = read_metrics(out / "run")
    manifest = json.loads((out / "data/manifest.json").read_text())
    tokens = {name: source["splits"]["train"]["tokens"] for name, source in manifest["sources"].items()}
    sizes = ", ".join(f"{name} {count / 1e6:.1f}" for name, count in tokens.items())
    took = f" in {seconds / 60:.0f} minutes" if seconds > 60 else ""
    return (
        f"Trained on {rows[-1]['tokens']:,} tokens in {len(rows):,} steps{took}, on {os.cpu_count()} cores; millions "
        f"of tokens in the data: {sizes}. Fine-tuning: {SEEDS} seeds, mean ± standard deviation."
    )


def write_page(page: Path, lines: list[str]) -> None:
    table = "\n".join([BEGIN, *lines, END])
    print("\n" + table)
    text = page.read_text(encoding="utf-8") if page.is_file() else f"{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN, 1)
    page.write_text(before + table + rest.split(END, 1)[1], encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
