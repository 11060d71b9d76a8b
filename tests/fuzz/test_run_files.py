"""Files of a run, a data set and a model that come back damaged: read, or one error that names the file."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz_run_files import INPUTS, check, targets

KINDS = (
    *("checkpoint manifest", "signed manifest", "checkpoint safetensors", "attempt", "launches", "metrics", "skips"),
    *("data manifest", "index", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Callable[[], object]]]:
    return targets(tmp_path_factory.mktemp("valid") / "files")


def test_every_kind_of_file_is_damaged(valid: dict[str, tuple[Path, Callable[[], object]]]) -> None:
    assert tuple(valid) == KINDS


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_is_one_error(valid: dict[str, tuple[Path, Callable[[], object]]], kind: str) -> None:
    file, read = valid[kind]
    read()  # intact
    seen = check(file, read, INPUTS, seed=1)
    assert sum(seen.values()) == INPUTS
