"""A training run as a JobSet, which Kubernetes restarts when needed.

There is one pod per node, all in one indexed Job, with a headless service that provides host names. Rank 0's exit code
determines what follows: a mistake of the user (2) ends the run; stopped on request (85), rewound (86) and an evicted
pod restart it without counting; any other failure counts towards `max_restarts`. JobSet restarts all pods together,
because ranks depend on each other.

A Job has one reason for all ends that its policy names, `PodFailurePolicy`, so the mistake is recognized by the number
of its rule in the message of the Job, for which JobSet has a key since 0.10.

The recipe is stored in the pods' annotations. As a separate object it could outlive the JobSet and be used by another
run.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ...configs.errors import USER_ERROR, UserError
from ...configs.loader.load import dump
from ...training.recipe.config import RunConfig
from ...training.resilience.exit_codes import REWOUND, STOPPED
from ..cluster.config import ClusterConfig
from ..cluster.kubernetes import KubernetesConfig, overlay
from ..ranks.warden import GRACE
from .trainjob import train_job

RECIPE = Path("/etc/clinical-modernbert/recipe.yaml")
PORT = 29500
JOB_SET = "CMBERT_JOBSET"
"""Variable of the pods: NAMESPACE/NAME of their JobSet, for the launch log."""
_LONGEST_NAME = 40
"""Kubernetes appends the job, its index and the pod's index, and limits names to 63 characters."""
_RESTART_CODES = [STOPPED, REWOUND]
_MISTAKE_RULE = 2
"""The place of this rule among those of the Job's `podFailurePolicy`."""
_CONTAINER = "ranks"
_RECIPE_ANNOTATION = "clinical-modernbert/recipe"
_RUN_LABEL = "app.kubernetes.io/instance"


def render(config: RunConfig, cluster: ClusterConfig) -> str:
    """Render the manifest of a run, as YAML for kubectl: a JobSet with the recipe, or a TrainJob that makes one.

    Raises:
        UserError: the cluster's file is incomplete, or run_dir is on no volume.
    """
    settings = _validated_settings(config, cluster)
    name = run_name(config.run_dir)
    labels = {"app.kubernetes.io/name": "clinical-modernbert", _RUN_LABEL: name}
    metadata: dict[str, Any] = {"name": name, "labels": labels}
    if settings.namespace:
        metadata["namespace"] = settings.namespace
    job_set = _job_set(metadata, dump(config), cluster, settings)
    objects = train_job(job_set, cluster.node_count) if settings.kind == "TrainJob" else [job_set]
    return yaml.safe_dump_all(objects, sort_keys=False, width=120)


def run_name(run_dir: Path) -> str:
    """Return a DNS label for the run. Creating a second JobSet with it fails, so a run cannot be started twice."""
    label = re.sub("[^a-z0-9]+", "-", run_dir.name.lower()).strip("-")
    return f"cmbert-{label}"[:_LONGEST_NAME].rstrip("-")


def run_dir_of(job_set: Mapping[str, Any]) -> Path | None:
    """Return the run_dir of the recipe that a JobSet contains; None if it is none of ours."""
    try:
        job = job_set["spec"]["replicatedJobs"][0]["template"]
        recipe = job["spec"]["template"]["metadata"]["annotations"][_RECIPE_ANNOTATION]
        return Path(yaml.safe_load(recipe)["run_dir"])
    except (LookupError, TypeError, yaml.YAMLError):
        return None


def submit(manifest: str) -> str:
    """Create the objects of a run; return the output of kubectl.

    Raises:
        UserError: kubectl is not installed, or the cluster rejects one, usually because its name exists.
    """
    created = [_create(yaml.safe_dump(one, sort_keys=False, width=120)) for one in yaml.safe_load_all(manifest)]
    return "\n".join(filter(None, created))


def _create(manifest: str) -> str:
    command = ["kubectl", "create", "-f", "-"]
    try:
        result = subprocess.run(command, input=manifest, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError as error:
        raise UserError("kubectl is not installed: install it, or print the manifest with --dry-run") from error
    output = result.stdout.strip()
    kind = yaml.safe_load(manifest)["kind"]
    if "AlreadyExists" in output:
        if kind == "TrainingRuntime":
            return ""  # its name is that of its content
        output += (
            f"\nA {kind} is named after its run_dir. To continue that run from its checkpoints, delete the {kind} "
            f"first (`kubectl delete {kind.lower()}`). If it is a different run, set run_dir to a directory of another "
            "name"
        )
    if result.returncode:
        raise UserError(f"kubectl: {output}")
    return output


def _validated_settings(config: RunConfig, cluster: ClusterConfig) -> KubernetesConfig:
    settings = cluster.kubernetes
    if settings is None:
        raise UserError("the cluster's file has no section `kubernetes`: add one with at least image: NAME")
    if cluster.pass_env and settings.pass_secret is None:
        raise UserError(
            f"pass_env names {', '.join(cluster.pass_env)}: store them in a secret and name it in "
            "kubernetes.pass_secret; values never go into a manifest"
        )
    on_volume = any(config.run_dir.is_relative_to(directory) for directory in settings.volumes.values())
    if not on_volume:
        raise UserError(
            f"run_dir={config.run_dir} is on no volume and would be lost with its pods: set run_dir to a directory "
            f"below {', '.join(settings.volumes.values()) or 'one of kubernetes.volumes'}"
        )
    return settings


def _job_set(
    metadata: dict[str, Any], recipe: str, cluster: ClusterConfig, settings: KubernetesConfig
) -> dict[str, Any]:
    labels = metadata["labels"] | ({"kueue.x-k8s.io/queue-name": settings.queue} if settings.queue else {})
    topology = {"alpha.jobset.sigs.k8s.io/exclusive-topology": settings.topology} if settings.topology else None
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {**metadata, "labels": labels, **({"annotations": topology} if topology else {})},
        "spec": {
            # Ranks connect to each other before all pods are ready.
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "successPolicy": {"operator": "All", "targetReplicatedJobs": ["node"]},
            "failurePolicy": {
                "maxRestarts": settings.max_restarts,
                "rules": [
                    {
                        "name": "mistake",
                        "action": "FailJobSet",
                        "onJobFailureReasons": ["PodFailurePolicy"],
                        "onJobFailureMessagePatterns": [f"matching FailJob rule at index {_MISTAKE_RULE}$"],
                    },
                    {
                        "name": "restart",
                        "action": "RestartJobSetAndIgnoreMaxRestarts",
                        "onJobFailureReasons": ["PodFailurePolicy"],
                    },
                ],
            },
            "replicatedJobs": [
                {"name": "node", "replicas": 1, "template": {"spec": _job(metadata, recipe, cluster, settings)}}
            ],
        },
    }


def _job(metadata: dict[str, Any], recipe: str, cluster: ClusterConfig, settings: KubernetesConfig) -> dict[str, Any]:
    return {
        "parallelism": cluster.node_count,
        "completions": cluster.node_count,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": _CONTAINER, "operator": "In", "values": _RESTART_CODES},
                },
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": _CONTAINER, "operator": "In", "values": [USER_ERROR]},
                },
            ]
        },
        "template": {
            "metadata": {
                "labels": dict(metadata["labels"]),
                "annotations": {**settings.annotations, _RECIPE_ANNOTATION: recipe},
            },
            "spec": overlay(_pod(metadata, cluster, settings), settings.pod),
        },
    }


def _pod(metadata: dict[str, Any], cluster: ClusterConfig, settings: KubernetesConfig) -> dict[str, Any]:
    recipe = {"path": RECIPE.name, "fieldRef": {"fieldPath": f"metadata.annotations['{_RECIPE_ANNOTATION}']"}}
    volumes: list[dict[str, Any]] = [
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": settings.shared_memory}},
        {"name": "recipe", "downwardAPI": {"items": [recipe]}},
        *({"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in settings.volumes),
    ]
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": settings.grace_seconds,
        "tolerations": [
            {"key": settings.gpu_resource, "operator": "Exists", "effect": "NoSchedule"},
            *(
                {"key": taint, **({"operator": "Exists"} if value is None else {"operator": "Equal", "value": value})}
                for taint, value in settings.tolerations.items()
            ),
        ],
        "affinity": _affinity(metadata, settings),
        **({"nodeSelector": settings.node_selector} if settings.node_selector else {}),
        **({"priorityClassName": settings.priority_class} if settings.priority_class else {}),
        **({"serviceAccountName": settings.service_account} if settings.service_account else {}),
        **(
            {"imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets]}
            if settings.image_pull_secrets
            else {}
        ),
        "containers": [_container(metadata["name"], cluster, settings)],
        "volumes": volumes,
    }


def _affinity(metadata: dict[str, Any], settings: KubernetesConfig) -> dict[str, Any]:
    """Place at most one pod of this run, or of any run, on a node, and none on excluded nodes."""
    labels = dict(metadata["labels"])
    if not settings.share_nodes:
        del labels[_RUN_LABEL]
    others = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    affinity: dict[str, Any] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [others]}}
    if settings.exclude:
        not_excluded = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": list(settings.exclude)}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [not_excluded]}]}
        affinity["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    return affinity


def _container(name: str, cluster: ClusterConfig, settings: KubernetesConfig) -> dict[str, Any]:
    gpus = {settings.gpu_resource: cluster.gpus()} if cluster.gpus() else {}
    limits: dict[str, Any] = {**gpus, **settings.rdma, **settings.resources}
    requests = {key: value for key, value in (("cpu", settings.cpu), ("memory", settings.memory)) if value}
    command = ["python3", "-m", "clinical_modernbert.launcher.k8s.node", "--config", str(RECIPE)]
    if cluster.setup:
        # `exec` replaces the shell with Python, so that Python receives the SIGTERM of Kubernetes.
        command = ["bash", "-ec", "\n".join([*cluster.setup, "exec " + " ".join(command)])]
    values = {
        **cluster.environment(),
        "NODES": str(cluster.node_count),
        "RANKS_PER_NODE": str(cluster.ranks_per_node),
        "GRACE_SECONDS": str(settings.grace_seconds),
        "MASTER_ADDR": f"{name}-node-0-0.{name}",
        "MASTER_PORT": str(PORT),
        GRACE: str(settings.grace_seconds),
        JOB_SET: f"{settings.namespace or ''}/{name}",
    }
    references = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": settings.pass_secret, "key": variable}}}
        for variable in cluster.pass_env
    ]
    return {
        "name": _CONTAINER,
        "image": settings.image,
        "command": command,
        "env": [*({"name": key, "value": value} for key, value in values.items()), *references],
        **({"envFrom": [{"secretRef": {"name": secret}} for secret in settings.secrets]} if settings.secrets else {}),
        "resources": {"limits": limits, **({"requests": requests} if requests else {})},
        # RDMA needs pinned memory.
        **({"securityContext": {"capabilities": {"add": ["IPC_LOCK"]}}} if settings.rdma else {}),
        "volumeMounts": [
            {"name": "shared-memory", "mountPath": "/dev/shm"},
            {"name": "recipe", "mountPath": str(RECIPE.parent)},
            *({"name": claim, "mountPath": directory} for claim, directory in settings.volumes.items()),
        ],
    }
