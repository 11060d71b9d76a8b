"""Notes of made-up patients, and a model that has learned those of the training split by heart."""

from pathlib import Path
from typing import NamedTuple

import pytest
from attacked import learn, model_of, write_notes

from clinical_modernbert.evaluation.privacy.passages import Sample, sample_passages
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.shards.manifest import DataManifest, read_manifest


class Attacked(NamedTuple):
    data: Path
    manifest: DataManifest
    sample: Sample
    trained: MaskedLM
    untrained: MaskedLM


@pytest.fixture(scope="session")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 24 patients with two notes each."""
    return write_notes(tmp_path_factory.mktemp("attacked"), 24)


@pytest.fixture(scope="session")
def attacked(notes: Path) -> Attacked:
    """It takes some ten seconds: tests that use it are slow."""
    manifest = read_manifest(str(notes))
    sample = sample_passages(str(notes), manifest, ["notes"], 100, 128, 0)
    return Attacked(notes, manifest, sample, learn(model_of(manifest), notes, 260), model_of(manifest).eval())
