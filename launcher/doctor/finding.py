"""The result of a check: one `Finding` per check, with advice.

A check is a small function that examines one thing and returns a Finding; it does not raise. A finding is `failed` if a
run would fail or produce wrong results unnoticed, and a `warning` if it costs time or matters only sometimes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ...configs.secrets import scrub

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: what was checked.
        result: what was found, in a few words.
        advice: how to fix it; empty if nothing is wrong.
    """

    check: str
    status: Status
    result: str
    advice: str = ""

    def __post_init__(self) -> None:
        """Hide secrets: results quote addresses, variables and errors of libraries, and are pasted into tickets."""
        for name in ("result", "advice"):
            object.__setattr__(self, name, scrub(getattr(self, name)))


Reports = dict[str, list[Finding]]
"""Host name -> findings of that node."""


def exit_code(reports: Reports) -> int:
    """Return 1 if any check failed, else 0."""
    return int(any(finding.status == "failed" for findings in reports.values() for finding in findings))


def compare_software(versions: dict[str, dict[str, str]]) -> Finding:
    """Check that all nodes have the same software; `versions` is {node: {package: version}}."""
    packages = sorted({package for installed in versions.values() for package in installed})
    differing = []
    for package in packages:
        by_version: dict[str, list[str]] = {}
        for node, installed in versions.items():
            by_version.setdefault(installed.get(package, "none"), []).append(node)
        if len(by_version) > 1:
            differing.append(
                f"{package} " + ", ".join(f"{v} on {abbreviate(nodes)}" for v, nodes in by_version.items())
            )
    if differing:
        advice = "Ranks with different software compute different results: use one environment or image on all nodes."
        return Finding("same software", "failed", "; ".join(differing), advice)
    return Finding("same software", "ok", f"{len(versions)} nodes" if len(versions) > 1 else "one node")


def merge_equal_findings(reports: Reports) -> Iterator[tuple[str, Finding]]:
    """Yield (nodes, finding), each distinct finding once: failed ones first, then warnings."""
    nodes: dict[Finding, list[str]] = {}
    for node, findings in reports.items():
        for finding in findings:
            nodes.setdefault(finding, []).append(node)
    order = ("failed", "warning", "ok")
    for finding in sorted(nodes, key=lambda finding: order.index(finding.status)):
        everywhere = len(nodes[finding]) == len(reports)
        yield ("all" if everywhere and len(reports) > 1 else abbreviate(nodes[finding])), finding


def abbreviate(names: Iterable[str]) -> str:
    """List up to three names; more are counted."""
    listed = sorted(names)
    return ", ".join(listed) if len(listed) <= 3 else f"{listed[0]} and {len(listed) - 1} more"
