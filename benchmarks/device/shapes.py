"""The shapes of the models and the lengths of the documents that are timed."""

from clinical_modernbert.kernels.verify.bench import packs

from .bench import Bench

HEADS = {"base": 12, "large": 16}
WIDTHS = {"base": (768, 1152), "large": (1024, 2624)}
"""Hidden size, and intermediate size of the MLP."""
REPORT = 225
"""Tokens of a report of 169 words."""


def mixes(bench: Bench, tokens: int) -> dict[str, list[int]]:
    """Lengths of the documents of `tokens` tokens, by name: a pack repeated as often as it fits."""
    pack = bench.size(8192, 256)
    repeats = tokens // pack
    layouts = dict(reversed(packs(pack).items()))
    layouts[f"reports of {REPORT}"] = [REPORT] * (pack // REPORT) + [pack % REPORT]
    return {name: lengths * repeats for name, lengths in layouts.items()}
