"""A run as a JobSet, which Kubernetes starts again as long as it should.

One pod a node, all in one indexed Job, with a headless service that gives them names. What rank 0's exit code says is
passed on: stopped as asked (85) or rewound (86), and a pod that was taken away, restart the run and count for nothing;
anything else counts towards `max_restarts`. JobSet restarts all pods together: ranks cannot go on without each other.

The recipe travels in the pods' annotations. As an object of its own it could outlive the JobSet, and train another run.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from ...configs.errors import UserError
from ...configs.loader.load import dump
from ...training.recipe.config import RunConfig
from ...training.resilience.exit_codes import REWOUND, STOPPED
from ..cluster.config import ClusterConfig
from ..cluster.kubernetes import KubernetesConfig

RECIPE = Path("/etc/clinical-modernbert/recipe.yaml")
PORT = 29500
_LONGEST_NAME = 40
"""Kubernetes adds the job, its index and the pod's to it, and has names of 63 letters."""
_AGAIN = [STOPPED, REWOUND]
_CONTAINER = "ranks"
_RECIPE_ANNOTATION = "clinical-modernbert/recipe"


def render(config: RunConfig, cluster: ClusterConfig) -> str:
    """The manifest of a run, as YAML for kubectl: a JobSet, and in it the recipe.

    Raises:
        UserError: the cluster's file lacks something, or what the run writes would be lost with its pods.
    """
    asked = _checked(config, cluster)
    name = run_name(config.run_dir)
    metadata = {"name": name, "labels": {"app.kubernetes.io/name": "clinical-modernbert"}}
    if asked.namespace:
        metadata["namespace"] = asked.namespace
    return yaml.safe_dump(_job_set(metadata, dump(config), cluster, asked), sort_keys=False, width=120)


def run_name(run_dir: Path) -> str:
    """A DNS label of the run's own: creating it a second time fails, so that a run is not started twice."""
    label = re.sub("[^a-z0-9]+", "-", run_dir.name.lower()).strip("-")
    return f"cmbert-{label}"[:_LONGEST_NAME].rstrip("-")


def submit(manifest: str) -> str:
    """Creates it; returns what kubectl says.

    Raises:
        UserError: kubectl is not here, or the cluster refuses, with its reason: most often that the name is taken.
    """
    command = ["kubectl", "create", "-f", "-"]
    try:
        told = subprocess.run(command, input=manifest, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError as error:
        raise UserError("kubectl is not here: install it, or take the manifest elsewhere with --dry-run") from error
    said = told.stdout.strip()
    if "AlreadyExists" in said:
        said += (
            "\nA JobSet is named after its run_dir. To go on with that run from its checkpoints, delete the JobSet "
            "first (`kubectl delete jobset`). If that is another run, set run_dir to a directory of another name"
        )
    if told.returncode:
        raise UserError(f"kubectl: {said}")
    return said


def _checked(config: RunConfig, cluster: ClusterConfig) -> KubernetesConfig:
    asked = cluster.kubernetes
    if asked is None:
        raise UserError("the cluster's file has no section `kubernetes`: add one, with at least image: NAME")
    if cluster.pass_env and asked.pass_secret is None:
        raise UserError(
            f"pass_env names {', '.join(cluster.pass_env)}: store them in a secret and name it in "
            "kubernetes.pass_secret; values never go into a manifest"
        )
    kept = any(config.run_dir.is_relative_to(directory) for directory in asked.volumes.values())
    if not kept:
        raise UserError(
            f"run_dir={config.run_dir} lies on no volume and would be lost with its pods: set run_dir to a directory "
            f"below {', '.join(asked.volumes.values()) or 'one of kubernetes.volumes'}"
        )
    return asked


def _job_set(metadata: dict[str, Any], recipe: str, cluster: ClusterConfig, asked: KubernetesConfig) -> dict[str, Any]:
    labels = metadata["labels"] | ({"kueue.x-k8s.io/queue-name": asked.queue} if asked.queue else {})
    topology = {"alpha.jobset.sigs.k8s.io/exclusive-topology": asked.topology} if asked.topology else None
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {**metadata, "labels": labels, **({"annotations": topology} if topology else {})},
        "spec": {
            # Ranks look for each other before all of them are ready.
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "successPolicy": {"operator": "All", "targetReplicatedJobs": ["node"]},
            "failurePolicy": {
                "maxRestarts": asked.max_restarts,
                "rules": [
                    {
                        "name": "again",
                        "action": "RestartJobSetAndIgnoreMaxRestarts",
                        "onJobFailureReasons": ["PodFailurePolicy"],
                    }
                ],
            },
            "replicatedJobs": [
                {"name": "node", "replicas": 1, "template": {"spec": _job(metadata, recipe, cluster, asked)}}
            ],
        },
    }


def _job(metadata: dict[str, Any], recipe: str, cluster: ClusterConfig, asked: KubernetesConfig) -> dict[str, Any]:
    return {
        "parallelism": cluster.nodes,
        "completions": cluster.nodes,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": _CONTAINER, "operator": "In", "values": _AGAIN},
                },
            ]
        },
        "template": {
            "metadata": {"labels": dict(metadata["labels"]), "annotations": {_RECIPE_ANNOTATION: recipe}},
            "spec": _pod(metadata, cluster, asked),
        },
    }


def _pod(metadata: dict[str, Any], cluster: ClusterConfig, asked: KubernetesConfig) -> dict[str, Any]:
    recipe = {"path": RECIPE.name, "fieldRef": {"fieldPath": f"metadata.annotations['{_RECIPE_ANNOTATION}']"}}
    volumes: list[dict[str, Any]] = [
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": asked.shared_memory}},
        {"name": "recipe", "downwardAPI": {"items": [recipe]}},
        *({"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in asked.volumes),
    ]
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": asked.grace_seconds,
        "tolerations": [{"key": asked.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": _affinity(metadata, asked),
        **({"nodeSelector": asked.node_selector} if asked.node_selector else {}),
        **({"priorityClassName": asked.priority_class} if asked.priority_class else {}),
        "containers": [_container(metadata["name"], cluster, asked)],
        "volumes": volumes,
    }


def _affinity(metadata: dict[str, Any], asked: KubernetesConfig) -> dict[str, Any]:
    """One pod of any run on a node, and none on those excluded."""
    apart = {"labelSelector": {"matchLabels": dict(metadata["labels"])}, "topologyKey": "kubernetes.io/hostname"}
    affinity: dict[str, Any] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    if asked.exclude:
        elsewhere = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": list(asked.exclude)}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [elsewhere]}]}
        affinity["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    return affinity


def _container(name: str, cluster: ClusterConfig, asked: KubernetesConfig) -> dict[str, Any]:
    limits: dict[str, Any] = {**({asked.gpu_resource: cluster.gpus()} if cluster.gpus() else {}), **asked.rdma}
    requests = {key: value for key, value in (("cpu", asked.cpu), ("memory", asked.memory)) if value}
    command = ["python3", "-m", "clinical_modernbert.launcher.k8s.node", "--config", str(RECIPE)]
    if cluster.setup:
        # The shell gives way to Python, which is then told by Kubernetes when to stop.
        command = ["bash", "-ec", "\n".join([*cluster.setup, "exec " + " ".join(command)])]
    values = {
        **cluster.environment(),
        "NODES": str(cluster.nodes),
        "RANKS_PER_NODE": str(cluster.ranks_per_node),
        "GRACE_SECONDS": str(asked.grace_seconds),
        "MASTER_ADDR": f"{name}-node-0-0.{name}",
        "MASTER_PORT": str(PORT),
    }
    references = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": asked.pass_secret, "key": variable}}}
        for variable in cluster.pass_env
    ]
    return {
        "name": _CONTAINER,
        "image": asked.image,
        "command": command,
        "env": [*({"name": key, "value": value} for key, value in values.items()), *references],
        **({"envFrom": [{"secretRef": {"name": secret}} for secret in asked.secrets]} if asked.secrets else {}),
        "resources": {"limits": limits, **({"requests": requests} if requests else {})},
        # To pin memory for RDMA.
        **({"securityContext": {"capabilities": {"add": ["IPC_LOCK"]}}} if asked.rdma else {}),
        "volumeMounts": [
            {"name": "shared-memory", "mountPath": "/dev/shm"},
            {"name": "recipe", "mountPath": str(RECIPE.parent)},
            *({"name": claim, "mountPath": directory} for claim, directory in asked.volumes.items()),
        ],
    }
