"""An array of SLURM jobs prepares the same data set as one process."""

import hashlib
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster

from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.slurm.prepare import submit_prepare
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.synthetic import notes as synthetic_notes
from clinical_modernbert.streaming_data.tokenizer.tokenizer import train


def hashes(directory: Path) -> dict[str, str]:
    files = [path for path in directory.rglob("*.mds") if path.is_file()]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_an_array_of_shares_prepares_the_same_data_set(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    notes = synthetic_notes.write(tmp_path, 40, seed=1)
    train((path.read_text() for path in notes), 1000, tmp_path / "tokenizer")
    values = {
        "tokenizer": tmp_path / "tokenizer",
        "seq_length": 512,
        "workers": 1,
        "sources": [
            {"name": path.stem, "format": "mimic_notes", "paths": [str(path)], "licence": "own", "synthetic": True}
            for path in notes
        ],
    }
    shared, alone = (
        PrepareConfig.model_validate({"output": tmp_path / name, **values}) for name in ("shared", "alone")
    )
    array, final = submit_prepare(shared, ClusterConfig.model_validate({"ranks_per_node": 1, "gpus_per_node": 0}), 2)
    prepare(alone, lambda stage: lambda done, total, counted: None)
    job = slurm_cluster.await_state(final, "COMPLETED", "FAILED", seconds=200)
    logs = sorted((tmp_path / "shared-jobs").rglob("*.out"))
    output = "".join(path.read_text() for path in logs)
    assert job["JobState"] == "COMPLETED", output
    assert [path.name for path in logs] == [f"pack-{final}.out", f"share-{array}-0.out", f"share-{array}-1.out"]
    assert "share 0/2: 1 tasks are done" in output
    assert hashes(tmp_path / "shared") == hashes(tmp_path / "alone") != {}
