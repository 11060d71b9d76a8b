"""A TrainJob of Kubeflow makes the same JobSet, and what is left of a deleted one does no harm."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1TrainingRuntime, TrainerV1alpha1TrainJob

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.k8s.jobset import render, submit
from clinical_modernbert.training.recipe.config import RunConfig

CLUSTER = """
nodes: 4
ranks_per_node: 8
kubernetes:
  image: registry.example/clinical-modernbert:1
  kind: {kind}
  namespace: nlp
  volumes: {{runs: /runs}}
  queue: training
  topology: topology.example/rack
"""


@pytest.fixture
def config(repository: Path) -> RunConfig:
    return load(RunConfig, repository / "configs" / "base.yaml", ["run_dir=/runs/base", "batch.global_batch_size=512"])


def rendered(config: RunConfig, directory: Path, kind: str) -> list[dict[str, Any]]:
    file = directory / "cluster.yaml"
    file.write_text(CLUSTER.format(kind=kind))
    return list(yaml.safe_load_all(render(config, load(ClusterConfig, file))))


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(child) for key, child in value.items() if child is not None}
    return [without_nulls(child) for child in value] if isinstance(value, list) else value


def test_both_objects_match_the_schemas_of_kubeflow(config: RunConfig, tmp_path: Path) -> None:
    """Kubeflow's models drop unknown keys, so that what remains must be all of it."""
    runtime, job = rendered(config, tmp_path, "TrainJob")
    for given, model in ((runtime, TrainerV1alpha1TrainingRuntime), (job, TrainerV1alpha1TrainJob)):
        assert without_nulls(model.from_dict(given).to_dict()) == given
        assert given["metadata"]["namespace"] == "nlp"
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    assert job["spec"]["runtimeRef"]["kind"] == runtime["kind"]


def test_the_controller_makes_the_job_set_of_the_other_kind(config: RunConfig, tmp_path: Path) -> None:
    """It takes name and labels of the TrainJob, and the rest of the runtime; torchrun has no part in it."""
    [job_set] = rendered(config, tmp_path, "JobSet")
    runtime, job = rendered(config, tmp_path, "TrainJob")
    assert set(runtime["spec"]) == {"mlPolicy", "template"}
    assert runtime["spec"]["mlPolicy"] == {"numNodes": 4}
    template = runtime["spec"]["template"]
    [ranks] = template["spec"]["replicatedJobs"]
    assert ranks["template"].pop("metadata") == {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
    metadata = {**job["metadata"], **template["metadata"]}
    assert {"metadata": metadata, "spec": template["spec"]} == {key: job_set[key] for key in ("metadata", "spec")}


KUBECTL = """#!/bin/sh
cat > {directory}/one
if grep -qx "{refused}" {directory}/one; then echo "Error (AlreadyExists)" >&2; exit 1; fi
cat {directory}/one >> {directory}/created
echo created
"""


def test_the_runtime_of_another_recipe_is_never_used(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name has a hash of it. One that exists is the same; a TrainJob that exists is an error."""
    runtime, job = rendered(config, tmp_path, "TrainJob")
    other, _ = rendered(config.model_copy(update={"seed": 7}), tmp_path, "TrainJob")
    again, _ = rendered(config, tmp_path, "TrainJob")
    assert runtime["metadata"]["name"] == again["metadata"]["name"] != other["metadata"]["name"]
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    kubectl = tmp_path / "kubectl"
    kubectl.touch(0o755)
    kubectl.write_text(KUBECTL.format(directory=tmp_path, refused="kind: TrainingRuntime"))
    assert submit(yaml.safe_dump_all([runtime, job])) == "created"
    assert yaml.safe_load((tmp_path / "created").read_text()) == job
    kubectl.write_text(KUBECTL.format(directory=tmp_path, refused="kind: TrainJob"))
    with pytest.raises(UserError, match="delete the TrainJob first \\(`kubectl delete trainjob`\\)"):
        submit(yaml.safe_dump_all([runtime, job]))
