"""What a doctor finds: one `Finding` a check, and what to do about it.

A check is a small function that looks at one thing and returns a Finding; it raises nothing. A finding has failed when
a run would fail, or would go wrong unseen; a warning costs time or matters only sometimes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """Of one check.

    Attributes:
        check: what was looked at.
        found: what is there, in few words.
        advice: what to do; empty when all is well.
    """

    check: str
    status: Status
    found: str
    advice: str = ""


Reports = dict[str, list[Finding]]
"""The findings of each node, by its name."""


def exit_code(reports: Reports) -> int:
    """The exit code: 1 when a run would fail."""
    return int(any(finding.status == "failed" for findings in reports.values() for finding in findings))


def compare_software(versions: dict[str, dict[str, str]]) -> Finding:
    """Whether all nodes have the same software; `versions` is {node: {package: version}}."""
    packages = sorted({package for installed in versions.values() for package in installed})
    differing = []
    for package in packages:
        by_version: dict[str, list[str]] = {}
        for node, installed in versions.items():
            by_version.setdefault(installed.get(package, "none"), []).append(node)
        if len(by_version) > 1:
            differing.append(f"{package} " + ", ".join(f"{v} on {few(nodes)}" for v, nodes in by_version.items()))
    if differing:
        advice = "Ranks that compute with different software drift apart: give all nodes one environment or image."
        return Finding("same software", "failed", "; ".join(differing), advice)
    return Finding("same software", "ok", f"{len(versions)} nodes" if len(versions) > 1 else "one node")


def merge_equal_findings(reports: Reports) -> Iterator[tuple[str, Finding]]:
    """(nodes, finding), each finding once, those that need attention first."""
    nodes: dict[Finding, list[str]] = {}
    for node, findings in reports.items():
        for finding in findings:
            nodes.setdefault(finding, []).append(node)
    order = ("failed", "warning", "ok")
    for finding in sorted(nodes, key=lambda finding: order.index(finding.status)):
        everywhere = len(nodes[finding]) == len(reports)
        yield ("all" if everywhere and len(reports) > 1 else few(nodes[finding])), finding


def few(names: Iterable[str]) -> str:
    """Three of them at most."""
    listed = sorted(names)
    return ", ".join(listed) if len(listed) <= 3 else f"{listed[0]} and {len(listed) - 1} more"
