"""The cluster files of docs/clouds.md: each loads, and its manifest or script is valid."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubeflow_trainer_api.models import JobsetV1alpha2JobSet

from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.k8s.jobset import render
from clinical_modernbert.launcher.k8s.task_file import Tool, render_task
from clinical_modernbert.launcher.slurm.job import render_job
from clinical_modernbert.training.planning.devices import find_gpu
from clinical_modernbert.training.recipe.config import RunConfig

ROOT = Path(__file__).parents[2]
FILES = re.findall(
    r"^## ([^\n]+)\n\n```yaml\n(.+?)^```", (ROOT / "docs/clouds.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize(("name", "text"), FILES, ids=[name for name, _ in FILES])
def test_the_file_of_a_cloud_is_valid(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    cluster = load(ClusterConfig, file)
    assert cluster.gpu is not None
    find_gpu(cluster.gpu)
    if cluster.kubernetes is None:
        script = render_job(tmp_path / "launch", tmp_path, cluster, ["python", "train.py"])
        assert not subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=True).stderr
        if shutil.which("shellcheck"):
            command = ["shellcheck", "--shell=bash", "--severity=warning", "-"]
            assert subprocess.run(command, input=script, text=True, capture_output=True).stdout == ""
        return
    [directory] = cluster.kubernetes.volumes.values()
    config = load(RunConfig, ROOT / "configs/base.yaml", [f"run_dir={directory}/base"])
    manifest: dict[str, Any] = yaml.safe_load(render(config, cluster))
    JobsetV1alpha2JobSet.from_dict(manifest)
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "run"}}
    kubernetes_validate.validate(job | manifest["spec"]["replicatedJobs"][0]["template"], "1.33", strict=True)


def test_every_cloud_of_the_overview_has_a_file() -> None:
    assert [name for name, _ in FILES] == [
        "EKS with EFA", "GKE", "AKS", "ParallelCluster and HyperPod", "CycleCloud",
    ]  # fmt: skip


@pytest.mark.parametrize("tool", ["skypilot", "dstack"])
def test_the_file_of_rented_machines_is_complete(tool: Tool, tmp_path: Path) -> None:
    """`tests/launcher/k8s/test_task_file.py` compares such files with the schemas of the tools."""
    page = (ROOT / "docs/clouds.md").read_text().split("## SkyPilot and dstack")[1]
    file = tmp_path / "cluster.yaml"
    file.write_text(page.split("```yaml\n")[1].split("```")[0])
    settings = ["run_dir=/tmp/base", "checkpoint.upload=s3://bucket/base"]
    assert all(setting in page for setting in settings)
    config = load(RunConfig, ROOT / "configs/base.yaml", settings)
    task = yaml.safe_load(render_task(config, load(ClusterConfig, file), tool))
    assert "H100:8" in str(task["resources"])
