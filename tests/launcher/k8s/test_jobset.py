"""Manifests against the schemas of Kubernetes and JobSet, and the ranks that a pod starts."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubeflow_trainer_api.models import JobsetV1alpha2JobSet
from pydantic import ValidationError
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import USER_ERROR, UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.cluster.kubernetes import overlay
from clinical_modernbert.launcher.k8s import node as kubernetes_node
from clinical_modernbert.launcher.k8s.jobset import render, run_name, submit
from clinical_modernbert.training.recipe.config import RunConfig
from clinical_modernbert.training.resilience.exit_codes import REWOUND, STOPPED

CLUSTER = """
nodes: 4
ranks_per_node: 8
fabric: efa
env: {NCCL_DEBUG: "WARN,INIT", NOTE: "two words"}
pass_env: [WANDB_API_KEY]
kubernetes:
  image: registry.example/clinical-modernbert:1
  namespace: nlp
  volumes: {runs: /runs, packs: /packs}
  secrets: [s3-writer]
  pass_secret: tracking
  rdma: {vpc.amazonaws.com/efa: 32}
  cpu: "96"
  memory: 900Gi
  exclude: [bad-node-7]
  node_selector: {pool: h100}
  queue: train
  priority_class: low
  topology: cloud.provider.com/rack
  resources: {hugepages-2Mi: 5120Mi, example.com/slots: 2}
  service_account: trainer
  image_pull_secrets: [registry]
  tolerations: {dedicated: training, spot: null}
  annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: "false"}
  pod:
    dnsPolicy: ClusterFirstWithHostNet
    containers:
      - name: ranks
        imagePullPolicy: Always
        env: [{name: NCCL_DEBUG, value: INFO}, {name: MORE, value: "1"}]
        volumeMounts: [{name: scratch, mountPath: /scratch}]
      - name: metrics
        image: registry.example/metrics:1
        env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: tracking, key: METRICS}}}]
    volumes: [{name: scratch, emptyDir: {sizeLimit: 500Gi}}]
"""
MINIMAL = "ranks_per_node: 1\nkubernetes: {image: one, volumes: {runs: /runs}}\n"


def cluster_config(directory: Path, text: str = CLUSTER) -> ClusterConfig:
    file = directory / "cluster.yaml"
    file.write_text(text)
    return load(ClusterConfig, file)


@pytest.fixture
def config(repository: Path) -> RunConfig:
    return load(
        RunConfig, repository / "configs" / "base.yaml", ["run_dir=/runs/First_run.2", "batch.global_batch_size=512"]
    )


@pytest.fixture
def job_set(config: RunConfig, tmp_path: Path) -> dict[str, Any]:
    return yaml.safe_load(render(config, cluster_config(tmp_path)))


def dropped(given: Any, parsed: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of values that the model dropped."""
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(parsed, dict) or key not in parsed:
                yield f"{path}.{key}"
            else:
                yield from dropped(value, parsed[key], f"{path}.{key}")
    elif isinstance(given, list):
        for number, pair in enumerate(zip(given, parsed, strict=True)):
            yield from dropped(*pair, f"{path}[{number}]")


def unknown_values(job_set: dict[str, Any]) -> list[str]:
    return list(dropped(job_set, JobsetV1alpha2JobSet.from_dict(job_set).to_dict()))


@pytest.mark.parametrize("text", [CLUSTER, MINIMAL], ids=["complete", "minimal"])
def test_the_manifest_matches_the_schema_of_jobset(config: RunConfig, tmp_path: Path, text: str) -> None:
    assert unknown_values(yaml.safe_load(render(config, cluster_config(tmp_path, text)))) == []


def test_the_schema_check_detects_errors(job_set: dict[str, Any]) -> None:
    job = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
    job["backofLimit"] = job.pop("backoffLimit")
    assert unknown_values(job_set) == [".spec.replicatedJobs[0].template.spec.backofLimit"]
    job["parallelism"] = "four"
    with pytest.raises(ValidationError):
        unknown_values(job_set)


def test_the_job_matches_the_schema_of_kubernetes(job_set: dict[str, Any]) -> None:
    job: dict[str, Any] = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "run"}}
    job |= job_set["spec"]["replicatedJobs"][0]["template"]
    kubernetes_validate.validate(job, "1.33", strict=True)
    job["spec"]["template"]["spec"]["containers"][0]["imagePullPolcy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.33", strict=True)


def template(job_set: dict[str, Any]) -> dict[str, Any]:
    return job_set["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]


def pod(job_set: dict[str, Any]) -> dict[str, Any]:
    return template(job_set)["spec"]


def fate(job_set: dict[str, Any], code: int | None) -> str:
    """What Kubernetes and JobSet do once a pod has ended with a code, or was evicted, as their controllers do it.

    The message is that of Kubernetes' pkg/controller/job/pod_failure_policy.go. Without a rule that matches, JobSet
    restarts all pods and counts it.
    """
    job = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
    reason, message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    assert job["backoffLimit"] == 0
    for number, rule in enumerate(job["podFailurePolicy"]["rules"]):
        if "onPodConditions" in rule:
            assert rule["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
            matches, what = code is None, "Pod here/run-node-0-1 has condition DisruptionTarget"
        else:
            codes = rule["onExitCodes"]
            assert (codes["containerName"], codes["operator"]) == (pod(job_set)["containers"][0]["name"], "In")
            matches, what = (
                code in codes["values"],
                f"Container ranks for pod here/run-node-0-1 failed with exit code {code}",
            )
        if matches:
            assert rule["action"] == "FailJob"
            reason, message = "PodFailurePolicy", f"{what} matching FailJob rule at index {number}"
            break
    for rule in job_set["spec"]["failurePolicy"]["rules"]:
        patterns = rule.get("onJobFailureMessagePatterns", [""])
        if reason in rule["onJobFailureReasons"] and any(re.search(pattern, message) for pattern in patterns):
            return str(rule["action"])
    return "RestartJobSet"


def test_the_exit_code_decides_whether_a_run_restarts(job_set: dict[str, Any]) -> None:
    """A mistake ends it; an eviction, a request and a rewind restart it; crashes of any kind count."""
    free = "RestartJobSetAndIgnoreMaxRestarts"
    fates = {USER_ERROR: "FailJobSet", STOPPED: free, REWOUND: free, None: free}
    crashes = set(range(1, 256)) - set(fates)
    assert {code: fate(job_set, code) for code in fates} == fates
    assert {fate(job_set, code) for code in crashes} == {"RestartJobSet"}
    assert job_set["spec"]["failurePolicy"]["maxRestarts"] == 3


def test_ranks_reach_the_first_pod_by_its_host_name(job_set: dict[str, Any]) -> None:
    values = {one["name"]: one.get("value") for one in pod(job_set)["containers"][0]["env"]}
    assert values["MASTER_ADDR"] == "cmbert-first-run-2-node-0-0.cmbert-first-run-2"
    assert (values["NODES"], values["RANKS_PER_NODE"], values["GRACE_SECONDS"]) == ("4", "8", "300")
    assert (values["NCCL_DEBUG"], values["NOTE"], values["FI_PROVIDER"]) == ("INFO", "two words", "efa")
    assert len(run_name(Path("/runs") / ("long" * 30))) <= 40


def test_a_pod_has_the_resources_of_its_ranks(job_set: dict[str, Any]) -> None:
    container = pod(job_set)["containers"][0]
    more = {"hugepages-2Mi": "5120Mi", "example.com/slots": 2}
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 32, **more}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(job_set)["volumes"]}
    assert volumes[mounts["/dev/shm"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Gi"}
    assert volumes[mounts["/runs"]]["persistentVolumeClaim"] == {"claimName": "runs"}
    assert pod(job_set)["terminationGracePeriodSeconds"] == 300


def test_secrets_are_passed_by_name(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "do-not-print")
    text = render(config, cluster_config(tmp_path))
    assert "do-not-print" not in text
    container = pod(yaml.safe_load(text))["containers"][0]
    [reference] = [one["valueFrom"] for one in container["env"] if one["name"] == "WANDB_API_KEY"]
    assert reference["secretKeyRef"] == {"name": "tracking", "key": "WANDB_API_KEY"}
    assert container["envFrom"] == [{"secretRef": {"name": "s3-writer"}}]


def test_the_manifest_contains_the_complete_recipe(job_set: dict[str, Any], config: RunConfig, tmp_path: Path) -> None:
    """The kubelet writes the annotation to the file that the ranks' command reads."""
    (volume,) = (volume for volume in pod(job_set)["volumes"] if volume["name"] == "recipe")
    (item,) = volume["downwardAPI"]["items"]
    annotations = template(job_set)["metadata"]["annotations"]
    assert annotations.pop("cluster-autoscaler.kubernetes.io/safe-to-evict") == "false"
    ((key, text),) = annotations.items()
    assert item["fieldRef"]["fieldPath"] == f"metadata.annotations['{key}']"
    container = pod(job_set)["containers"][0]
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "recipe")
    assert container["command"][-2:] == ["--config", f"{mount['mountPath']}/{item['path']}"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    assert load(RunConfig, recipe) == config


def test_the_overlay_is_merged_by_names(job_set: dict[str, Any]) -> None:
    """As kubectl does: entries with a known name gain keys, others are appended, and nothing else is lost."""
    spec = pod(job_set)
    ranks, metrics = spec["containers"]
    assert metrics["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "tracking", "key": "METRICS"}
    assert ranks["imagePullPolicy"] == "Always"
    assert ranks["image"] == "registry.example/clinical-modernbert:1"
    assert {mount["mountPath"] for mount in ranks["volumeMounts"]} >= {"/dev/shm", "/runs", "/packs", "/scratch"}
    assert [volume["name"] for volume in spec["volumes"]].count("scratch") == 1
    assert {volume["name"] for volume in spec["volumes"]} >= {"shared-memory", "recipe", "runs", "packs"}
    assert spec["serviceAccountName"] == "trainer"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["tolerations"][1:] == [
        {"key": "dedicated", "operator": "Equal", "value": "training"},
        {"key": "spot", "operator": "Exists"},
    ]
    assert overlay({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}}) == {"b": {"c": 2, "d": 3}}
    assert overlay({"args": [1, 2]}, {"args": [3]}) == {"args": [3]}


@pytest.mark.parametrize("shared", [False, True])
def test_runs_share_nodes_only_if_asked_to(shared: bool, config: RunConfig, tmp_path: Path) -> None:
    text = MINIMAL.replace("volumes", f"share_nodes: {str(shared).lower()}, volumes")
    job_set = yaml.safe_load(render(config, cluster_config(tmp_path, text)))
    labels = template(job_set)["metadata"]["labels"]
    rules = pod(job_set)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    [selected] = [rule["labelSelector"]["matchLabels"] for rule in rules]
    assert selected.items() <= labels.items()
    assert ("cmbert-first-run-2" in selected.values()) is shared


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resources: {hugepages-2Mi: much}", r"kubernetes.resources: .*hugepages-2Mi: expected a quantity"),
        (
            "pod: {containers: [{image: one}]}",
            r"kubernetes.pod: .*containers: expected a list whose entries have `name`",
        ),
        ("pod: {containers: {name: ranks}}", r"containers: expected a list"),
    ],
)
def test_mistakes_in_the_overlay_are_reported(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        cluster_config(tmp_path, f"ranks_per_node: 1\nkubernetes: {{image: one, {text}}}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ranks_per_node: 1\n", "no section `kubernetes`"),
        ("ranks_per_node: 1\npass_env: [A_KEY]\nkubernetes: {image: one, volumes: {a: /runs}}\n", "pass_secret"),
        ("ranks_per_node: 1\nkubernetes: {image: one, volumes: {a: /elsewhere}}\n", "is on no volume"),
        ("ranks_per_node: 1\nkubernetes: {image: one}\n", "one of kubernetes.volumes"),
    ],
)
def test_missing_settings_are_reported(config: RunConfig, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        render(config, cluster_config(tmp_path, text))


def test_the_command_prints_or_creates_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster_config(tmp_path, MINIMAL)
    arguments = ["launch", "k8s", "base", "--cluster", str(tmp_path / "cluster.yaml"), "--set", "run_dir=/runs/base"]
    printed = CliRunner().invoke(app, [*arguments, "--dry-run"])
    # One object: leftovers of a deleted run, or of one with the same name, cannot become part of it.
    assert [one["kind"] for one in yaml.safe_load_all(printed.stdout)] == ["JobSet"]
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments; cat > {tmp_path}/created\necho created\n')
    kubectl.chmod(0o755)
    assert CliRunner().invoke(app, arguments).stdout == "created\n"
    assert (tmp_path / "arguments").read_text() == "create -f -\n"
    assert (tmp_path / "created").read_text() == printed.stdout
    kubectl.write_text("#!/bin/sh\necho 'Error from server (AlreadyExists): cmbert-base' >&2; exit 1\n")
    with pytest.raises(
        UserError, match=r"(?s)cmbert-base.*kubectl delete jobset.*run_dir to a directory of another name"
    ):
        submit(printed.stdout)
    kubectl.write_text("#!/bin/sh\necho created; echo 'Warning: pods are restricted' >&2; exit 1\n")
    with pytest.raises(UserError, match=r"kubectl: created\nWarning: pods are restricted$"):
        submit(printed.stdout)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="kubectl is not installed"):
        submit(printed.stdout)


ENTRY = """
import json, os, sys, pathlib, time
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
variables = {name: os.environ[name] for name in names} | {"arguments": sys.argv[1:]}
home, rank = pathlib.Path(__file__).parent, int(os.environ["RANK"])
(home / "staging").joinpath(str(rank)).write_text(json.dumps(variables))
os.rename(home / "staging" / str(rank), home / f"rank{rank}")
while not (home / f"rank{rank ^ 1}").exists():
    time.sleep(0.01)
sys.exit(int(sys.argv[2]))
"""


def test_each_pod_starts_the_ranks_of_its_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.py").write_text(ENTRY)
    (tmp_path / "staging").mkdir()
    shared = {"NODES": "2", "RANKS_PER_NODE": "2", "MASTER_ADDR": "run-node-0-0.run", "MASTER_PORT": "29500"}
    shared["GRACE_SECONDS"] = "300"
    for name, value in shared.items():
        monkeypatch.setenv(name, value)
    for node, code in (("0", 0), ("1", 85)):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", node)
        assert kubernetes_node.run_node(["--code", str(code)], tmp_path / "train.py") == code
    ranks = [json.loads((tmp_path / f"rank{rank}").read_text()) for rank in range(4)]
    assert [(rank["RANK"], rank["LOCAL_RANK"]) for rank in ranks] == [
        ("0", "0"),
        ("1", "1"),
        ("2", "0"),
        ("3", "1"),
    ]
    assert {rank["WORLD_SIZE"] for rank in ranks} == {"4"}
    assert {(rank["MASTER_ADDR"], rank["MASTER_PORT"]) for rank in ranks} == {("run-node-0-0.run", "29500")}


def test_running_outside_a_pod_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
    monkeypatch.setattr(sys, "argv", ["kubernetes_node"])
    with pytest.raises(UserError, match="JOB_COMPLETION_INDEX is not set"):
        kubernetes_node.run_node([])
