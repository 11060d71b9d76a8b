"""The models of the learning proof: one data set and tokenizer, and for each seed a trained and an initial model."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree

from clinical_modernbert.benchmarks.record import describe_commit
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.launcher.commands.demo import print_heading, run
from clinical_modernbert.model.hugging_face import write_pretrained
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.storage.files import stage_directory
from clinical_modernbert.training.recipe.config import RunConfig

REPOSITORY = Path(__file__).resolve().parents[2]


def recipe(out: Path, seed: int, extra: list[str]) -> RunConfig:
    """The recipe `proof` as the models of a seed are trained with it."""
    return load(RunConfig, find_recipe("proof"), _settings(out, seed, extra))


def directory(out: Path, seed: int) -> Path:
    return out / f"seed-{seed}"


def prepare(
    files: dict[str, list[Path]],
    out: Path,
    corpora: str = "data/proof",
    sources: Sequence[str] = ("pubmed", "icd10cm", "icd9"),
) -> None:
    """Train a tokenizer and prepare the data, with the commands of a user.

    Args:
        corpora: the recipe.
        sources: keys of `files`, in the order of the recipe's sources.
    """
    settings = [f"output={out / 'data'}", f"tokenizer={out / 'tokenizer'}"]
    for number, kind in enumerate(sources):
        settings.append(f"sources.{number}.paths={json.dumps([str(path) for path in files[kind]])}")
    options = [corpora, *_options(settings)]
    print_heading("1. A tokenizer of 4,096 subwords")
    run(["tokenizer", "train", *options, "--vocab-size", "4096"], unless=out / "tokenizer")
    print_heading(f"2. {', '.join(sources)} in packs")
    run(["data", "prepare", *options], unless=out / "data/manifest.json")


def train(out: Path, seed: int, extra: list[str]) -> None:
    """Train from scratch, export, and save the model before its first step; notes the commit and the minutes."""
    models = directory(out, seed)
    print_heading(f"3. Training from scratch, seed {seed}")
    if not (models / "trained").exists():
        commit, started = describe_commit(REPOSITORY, REPOSITORY / "docs/proof.md"), time.monotonic()
        run(["train", "proof", "--ranks", "2", *_options(_settings(out, seed, extra))])
        made = {"commit": commit, "minutes": round((time.monotonic() - started) / 60, 1)}
        (models / "made.json").write_text(json.dumps(made))
        run(["export", str(models / "run"), "--out", str(models / "trained")])
    if not (models / "initial").exists():
        _save_initial(recipe(out, seed, extra), models / "initial")


def made(out: Path, seed: int) -> tuple[str, float]:
    """The commit that trained the model of a seed, and the minutes that its last uninterrupted part took."""
    content = json.loads((directory(out, seed) / "made.json").read_text())
    return content["commit"], content["minutes"]


def _save_initial(config: RunConfig, target: Path) -> None:
    assert config.model is not None
    model = MaskedLM(config.model)
    initialize(model, config.seed)
    with stage_directory(target) as staging:
        write_pretrained(model.state_dict(), config.model, staging)
        copytree(config.run_dir / "tokenizer", staging, dirs_exist_ok=True)


def _settings(out: Path, seed: int, extra: list[str]) -> list[str]:
    return [f"data.path={out / 'data'}", f"run_dir={directory(out, seed) / 'run'}", f"seed={seed}", *extra]


def _options(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]
