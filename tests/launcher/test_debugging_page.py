"""The program, functions, files and keys in docs/debugging.md exist and work."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel
from small_run import RECIPE

from clinical_modernbert.configs.loader.load import dump, load
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.training.recipe.config import RunConfig


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs/debugging.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_program_prints_the_packs_of_a_step(page: str, small_data: Path, tmp_path: Path) -> None:
    recipe, run_dir = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(RECIPE)
    run_dir.mkdir()
    config = load(RunConfig, recipe, [f"run_dir={run_dir}", f"data.path={small_data}"])
    (run_dir / "config.yaml").write_text(dump(config))
    (run_dir / "skips.json").write_text('[{"after": 4, "packs": 3}, {"after": 40, "packs": 5}]')
    [(name, program)] = re.findall(r'^```python title="(\S+)"\n(.*?)^```', page, re.DOTALL | re.MULTILINE)
    (tmp_path / name).write_text(program)
    packs, step = config.batch.global_batch_size, 3
    done = subprocess.run(
        [sys.executable, tmp_path / name, str(run_dir), str(step)], capture_output=True, text=True, check=False
    )
    dataset = open_dataset(config.data, config.seed, packs_per_step=packs)
    first = (step - 1) * packs + 3
    expected = [
        " ".join(map(str, (dataset.sources[at.source], at.epoch, at.pack, *dataset.read(at).doc_ids)))
        for at in dataset.order.between(first, first + packs)
    ]
    assert done.stdout.splitlines() == expected, done.stderr


def test_functions_to_stop_at_exist(page: str) -> None:
    names = re.findall(r'"break clinical_modernbert\.(\S+)\.(\w+)"', page)
    assert names
    for module, function in names:
        assert callable(getattr(importlib.import_module(f"clinical_modernbert.{module}"), function))


def test_files_and_recipe_keys_exist(page: str, repository: Path) -> None:
    for path in re.findall(r"(?<![\w/])(?:launcher|tests|benchmarks)/[\w/]+\.py", page):
        assert (repository / path).is_file(), path
    keys = re.findall(r"`(engine|spikes|data|checkpoint|optimizer)\.(\w+)`", page)
    assert keys
    for section, key in keys:
        model = RunConfig.model_fields[section].annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        assert key in model.model_fields, f"{section}.{key}"
