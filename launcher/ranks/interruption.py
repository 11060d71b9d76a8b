"""Notices of a cloud that it will take a machine back, such as a spot instance: the ranks save and stop in time.

A machine's metadata service gives the notice: two minutes before with AWS, 30 seconds with Google Cloud and Azure. One
rank per node asks it every few seconds and sends itself SIGTERM, which all ranks agree on before the next step.

AWS: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
Google Cloud: https://cloud.google.com/compute/docs/instances/create-use-spot#handle-preemption
Azure: https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events
"""

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from threading import Thread
from typing import Literal
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

logger = logging.getLogger(__name__)

Cloud = Literal["aws", "gcp", "azure"]
CLOUD = "CMBERT_INTERRUPTION"
"""Variable of the ranks: the cloud whose notices are heeded."""
ADDRESS = "CMBERT_METADATA"
"""Variable of the ranks: where the metadata service is, for a proxy of it."""
POLL_SECONDS = 5.0
_TIMEOUT = 2.0
_LINK_LOCAL = "http://169.254.169.254"
_BYTES = 1 << 16


def heed_interruption(environment: Mapping[str, str]) -> None:
    """Send this process SIGTERM soon after a notice, if it is the first rank of its node and a cloud is named."""
    cloud = environment.get(CLOUD)
    if cloud in _NOTICES and environment.get("LOCAL_RANK", "0") == "0":
        notice = _NOTICES[cloud]
        address = environment.get(ADDRESS) or (_LINK_LOCAL if cloud != "gcp" else "http://metadata.google.internal")
        Thread(target=_poll, args=(notice, address), daemon=True, name="interruption notices").start()


def _poll(notice: "Callable[[str], str | None]", address: str) -> None:
    warned = False
    while True:
        try:
            if found := notice(address):
                logger.warning(f"the cloud takes this machine back ({found}): stopping")
                os.kill(os.getpid(), signal.SIGTERM)
                return
        except (OSError, ValueError, HTTPException) as error:
            if not warned:
                logger.warning(f"{address}: no notices of interruption can be read here ({error}); trying again")
                warned = True
        time.sleep(POLL_SECONDS)


def _aws(address: str) -> str | None:
    token = _get(f"{address}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, method="PUT")
    found = _get(f"{address}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token or ""})
    return None if found is None else str(json.loads(found)["action"])


def _gcp(address: str) -> str | None:
    instance = f"{address}/computeMetadata/v1/instance"
    header = {"Metadata-Flavor": "Google"}
    if (_get(f"{instance}/preempted", header) or "").strip() == "TRUE":
        return "preempted"
    event = (_get(f"{instance}/maintenance-event", header) or "").strip()
    return event if event.startswith("TERMINATE") else None


def _azure(address: str) -> str | None:
    """Events are of all machines of a scale set; they name those that they concern."""
    header = {"Metadata": "true"}
    events = _get(f"{address}/metadata/scheduledevents?api-version=2020-07-01", header)
    own = _get(f"{address}/metadata/instance/compute/name?api-version=2021-02-01&format=text", header)
    for event in json.loads(events or "{}").get("Events", []):
        if event["EventType"] in ("Preempt", "Terminate", "Reboot", "Redeploy") and own in event["Resources"]:
            return str(event["EventType"])
    return None


_NOTICES: dict[str, Callable[[str], str | None]] = {"aws": _aws, "gcp": _gcp, "azure": _azure}


def _get(url: str, headers: Mapping[str, str], method: str = "GET") -> str | None:
    """The answer; None if there is no such object. Proxies of the environment do not reach a machine's own metadata."""
    request = Request(url, headers=dict(headers), method=method)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT) as answer:
            text: str = answer.read(_BYTES).decode("utf-8")
            return text
    except HTTPError as error:
        if error.code == 404:
            return None
        raise
