"""A privacy report in words: what was tried, with what access, and what was found; for the page and the model card."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .report import (
    Estimate,
    ExposureSection,
    ExtractionSection,
    MembershipSection,
    PrivacyReport,
    RecoverySection,
)

CAUTION = (
    "These are lower bounds: another attack, more queries or other text may find more. Finding nothing is no proof "
    "that nothing can be found."
)
ACCESS = "The attacker has the weights and the tokenizer, and computes any probability of any token."
_CLEAR = 0.01


class Finding(NamedTuple):
    """The result of one attack.

    Attributes:
        tried: what was tried, and what the attacker knows beside the model.
        found: one sentence.
        columns, rows: of its table.
        notes: how to read it.
    """

    title: str
    tried: str
    found: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]


def findings(report: PrivacyReport) -> list[Finding]:
    """The results of all attacks that were made."""
    return [_DESCRIBE[name](getattr(report, name)) for name in report.attacks()]


def card_section(report: PrivacyReport) -> str:
    """The section of a model card, in Markdown."""
    parts = [
        "## Privacy",
        f"Attacks on the weights of {report.checkpoint}, trained on {report.data_name} (`{report.data}`), "
        f"{report.date[:10]}. {ACCESS} {CAUTION}",
    ]
    for finding in findings(report):
        table = [_table(finding)] if finding.rows else []
        parts += [f"### {finding.title}", finding.tried, *table, f"**{finding.found}**", *finding.notes]
    if not report.attacks():
        parts.append("No attack was made.")
    return "\n\n".join(parts) + "\n"


def _table(finding: Finding) -> str:
    lines = [finding.columns, ["---"] * len(finding.columns), *finding.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _exposure(section: ExposureSection) -> Finding:
    planted = [level for level in section.levels if level.repeats]
    often = planted[-1] if planted else section.levels[-1]
    rises = section.trend > 0 and section.trend_p < _CLEAR
    found = (
        f"Exposure rises with repeats (rank correlation {section.trend:.2f}, p {_p(section.trend_p)}): planted "
        f"{often.repeats} times, {_bits(often.exposure)}, and {often.first} of {often.canaries} secrets rank first."
        if rises
        else f"No rise of exposure with repeats was found (rank correlation {section.trend:.2f}, p "
        f"{_p(section.trend_p)})."
    )
    return Finding(
        "Exposure of canaries",
        "Random synthetic identifiers were planted in training documents. The attacker knows the line around a secret "
        f"number and ranks it among {section.alternatives:,} random ones of its form and number of tokens, one token "
        "at a time (Carlini et al. 2019, arXiv 1802.08232).",
        found,
        ("repeats", "in the data", "canaries", "exposure, bits", "ranked first", "masked together", "untrained"),
        [
            (
                str(level.repeats),
                f"{level.kept:g}",
                str(level.canaries),
                _interval(level.exposure),
                str(level.first),
                _interval(level.screened),
                _interval(level.untrained) if level.untrained else "-",
            )
            for level in section.levels
        ],
        [
            f"Chance gives {section.chance:.1f} bits. Intervals of 95 % are over canaries. Masked together, all tokens "
            f"of the secret are hidden at once, among {section.screened_alternatives:,} alternatives. Real identifiers "
            "occur in more than one wording, so repeats are not comparable one to one.",
        ],
    )


def _membership(section: MembershipSection) -> Finding:
    def name(attack: Any) -> str:
        model = "" if attack.model == "trained" else ", untrained"
        return {"loss": "loss", "length": "length of the text (control)"}.get(
            attack.score, f"loss less that of {attack.reference}"
        ) + ("" if attack.score == "length" else model + (" (control)" if model else ""))

    def best(attack: Any) -> Any:
        return attack.patients or attack.documents

    attacks = [attack for attack in section.attacks if attack.model == "trained" and attack.score != "length"]
    strongest = max(attacks, key=lambda attack: best(attack).auc.value)
    auc = best(strongest).auc
    unit = "patients" if section.patients_known else "documents"
    return Finding(
        "Membership",
        f"The attacker has the text of {unit} and decides whether they were in training, from the loss at "
        f"{section.rate:.0%} masked tokens, {section.maskings} maskings of at most {section.longest} tokens of each "
        "document; also less the loss of a reference model (Carlini et al. 2022, arXiv 2112.03570; on clinical notes "
        "Mireshghallah et al. 2022, arXiv 2203.03929).",
        f"The strongest of these separates members from held-out {unit} with an AUC of {_interval(auc)}"
        + (": better than chance." if auc.low > 0.5 else ", an interval that includes chance (0.5)."),
        ("score", "members", "held out", "AUC", "TPR at 1 % FPR"),
        [
            (
                name(attack),
                f"{best(attack).members:,}",
                f"{best(attack).others:,}",
                _interval(best(attack).auc),
                _interval(best(attack).tpr) if best(attack).tpr else "-",
            )
            for attack in section.attacks
        ],
        [
            "0.5 is chance. Where a control differs from 0.5, the two sides differ in more than training. "
            "Mireshghallah et al. measured 0.66 by loss and 0.90 with a reference trained on similar text, so no "
            "result by loss alone shows safety."
            + ("" if section.epochs is None else f" Training had read their text {section.epochs:g} times on average.")
            + ("" if section.patients_known else " Patients are not known, so the intervals are too narrow."),
        ],
    )


def _recovery(section: RecoverySection) -> Finding:
    every = section.kinds.get("all")
    if every is None:
        found = "No identifier was found in the passages of one side, so nothing was compared."
    else:
        difference = every.top[min(every.top)].difference
        found = f"Identifiers of training notes are recovered {_points(difference)} more often than held-out ones" + (
            "." if difference.low > 0 else "; the interval includes 0."
        )
    return Finding(
        "Recovery of masked identifiers",
        "The attacker has a note in which the names, dates and numbers that the audit finds were removed, and fills "
        "them in; each is masked together with its other occurrences (after Lehman et al. 2021, arXiv 2104.07762).",
        found,
        ("identifiers", "in training", "held out", "among the likeliest", "recovered in training", "held out",
         "difference", "difference, untrained"),
        [
            (
                kind,
                f"{one.members:,}",
                f"{one.others:,}",
                str(k),
                f"{rates.members:.1%}",
                f"{rates.others:.1%}",
                _points(rates.difference),
                _points(one.untrained[k].difference) if k in one.untrained else "-",
            )
            for kind, one in section.kinds.items()
            for k, rates in one.top.items()
        ],
        [f"{section.unreadable:,} passages could not be read back from their tokens."] if section.unreadable else [],
    )  # fmt: skip


def _extraction(section: ExtractionSection) -> Finding:
    members = section.members
    return Finding(
        "Extraction",
        f"The attacker has a training passage with a gap of {section.gap} tokens and lets the model write it; exact in "
        f"its first {section.least} tokens, not in held-out text and not written by the untrained model, it counts as "
        "extracted (after Carlini et al. 2023, arXiv 2202.07646).",
        f"{members.extracted:,} of {members.passages:,} gaps of training passages were extracted"
        + (f", the longest of {members.longest} tokens." if members.extracted else "."),
        ("passages", "gaps", "exact", "extracted", "longest"),
        [
            (side, f"{one.passages:,}", f"{one.recovered:,}", f"{one.extracted:,}", str(one.longest))
            for side, one in (("training", members), ("held out (control)", section.others))
        ],
        [f"Difference of the rates of extraction: {_points(section.difference)}."],
    )


_DESCRIBE: dict[str, Callable[[Any], Finding]] = {
    "exposure": _exposure,
    "membership": _membership,
    "recovery": _recovery,
    "extraction": _extraction,
}


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _bits(estimate: Estimate) -> str:
    return f"{estimate.value:.1f} bits ({estimate.low:.1f} to {estimate.high:.1f})"


def _points(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} points ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.001 else "< 0.001"
