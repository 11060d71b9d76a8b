"""A run as a TrainJob of Kubeflow Trainer, for clusters whose users may create nothing else.

The runtimes that come with Kubeflow start ranks with torchrun, which turns every exit code into 1. So a run brings its
own runtime: the JobSet that `jobset.py` describes, which the controller creates under the name of the TrainJob. The
name of the runtime has a hash of it, so that what a deleted run has left behind cannot become part of another.
"""

import hashlib
import json
from typing import Any

_API_GROUP = "trainer.kubeflow.org"
_ANCESTOR = {f"{_API_GROUP}/trainjob-ancestor-step": "trainer"}
"""Marks the job of the ranks, whose number of pods Kubeflow sets."""


def train_job(job_set: dict[str, Any], nodes: int) -> list[dict[str, Any]]:
    """The runtime and the TrainJob that make this JobSet, in the order in which they are created."""
    metadata = {key: value for key, value in job_set["metadata"].items() if key != "annotations"}
    [ranks] = job_set["spec"]["replicatedJobs"]
    marked = {**ranks, "template": {"metadata": {"labels": _ANCESTOR}, **ranks["template"]}}
    annotations = job_set["metadata"].get("annotations")
    spec = {
        "mlPolicy": {"numNodes": nodes},
        "template": {
            **({"metadata": {"annotations": annotations}} if annotations else {}),
            "spec": {**job_set["spec"], "replicatedJobs": [marked]},
        },
    }
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]
    runtime = f"{metadata['name']}-{digest}"
    reference = {"apiGroup": _API_GROUP, "kind": "TrainingRuntime", "name": runtime}
    version = {"apiVersion": f"{_API_GROUP}/v1alpha1"}
    return [
        {**version, "kind": "TrainingRuntime", "metadata": {**metadata, "name": runtime}, "spec": spec},
        {**version, "kind": "TrainJob", "metadata": metadata, "spec": {"runtimeRef": reference}},
    ]
