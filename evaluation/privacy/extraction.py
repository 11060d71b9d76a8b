"""Extraction: given the rest of a training passage, does the model write a gap of many tokens in its middle exactly?

An encoder fills masks, so `GAP` tokens after the first half are masked and filled from left to right, each with its
likeliest token, as long as they are right; what follows the gap is visible, which helps an encoder. A gap is recovered
if its first `LEAST` tokens are exactly those of the document. This is extractable memorization with greedy decoding
(Carlini et al. 2023, arXiv 2202.07646) for an encoder. Phrases that many notes have are recovered too, so a gap counts
as extracted only if neither the rest of the passage nor a held-out document of another patient has its tokens, and the
untrained model does not write them. The gaps of held-out passages are filled in the same way: what is extracted there
was never seen, so that rate is the method's own error.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from ...configs.progress import Progress
from ..models.clozes import Cloze, rank
from .passages import Integers, Passage, Sample
from .report import ExtractionSection, Gaps
from .runs import LEAST, run_hashes
from .scorer import Scorer
from .separation import Mask, difference

GAP = 16
"""Tokens that are masked after the first half."""


def attack_extraction(
    model: Scorer, untrained: Scorer, sample: Sample, held_out: Iterable[tuple[int, Integers]], mask_id: int,
    longest: int, seed: int,
) -> ExtractionSection | None:  # fmt: skip
    """Fill a gap in each passage of the sample; None if a side has none that is long enough.

    Args:
        held_out: the patient and the tokens of held-out segments.
    """
    passages = [passage for passage in sample.passages if len(passage.tokens) >= 2 * (LEAST + 1)]
    is_member = np.array([passage.is_member for passage in passages], np.bool_)
    if is_member.all() or not is_member.any():
        return None
    runs = exact_runs(model, passages, mask_id, "the model")
    recovered = np.flatnonzero(runs >= LEAST)
    found = [passages[at] for at in recovered.tolist()]
    guessed = exact_runs(untrained, found, mask_id, "the untrained model") >= LEAST
    extracted = np.zeros(len(passages), np.bool_)
    extracted[recovered] = ~(guessed | in_passage(found) | in_other_text(found, held_out))
    patients = np.array([passage.patient for passage in passages])
    return ExtractionSection(
        least=LEAST,
        gap=GAP,
        longest=longest,
        seed=seed,
        patients_known=sample.patients_known,
        members=_side(runs[is_member], extracted[is_member]),
        others=_side(runs[~is_member], extracted[~is_member]),
        difference=difference(extracted.astype(np.float64), np.ones(len(passages)), is_member, patients, seed),
    )


def _side(runs: Integers, extracted: Mask) -> Gaps:
    return Gaps(
        passages=len(runs),
        recovered=int((runs >= LEAST).sum()),
        extracted=int(extracted.sum()),
        longest=int(runs[extracted].max(initial=0)),
    )


def gap_of(passage: Passage) -> Integers:
    """The tokens after the first half that are masked."""
    half = len(passage.tokens) // 2
    return passage.tokens[half : min(half + GAP, len(passage.tokens) - 1)]


def exact_runs(scorer: Scorer, passages: Sequence[Passage], mask_id: int, name: str) -> Integers:
    """How many tokens of each gap the model writes exactly, from its first on (n,).

    One token at a time; a passage is left as soon as a token is wrong.
    """
    runs = np.zeros(len(passages), np.int64)
    writing = np.arange(len(passages))
    with Progress(f"filling gaps with {name}", GAP, "tokens") as progress:
        for _ in range(GAP):
            clozes = [_next_token(passages[at], int(runs[at]), mask_id) for at in writing.tolist()]
            right = [ranks[0] == 0 for ranks in rank(scorer, clozes)]
            writing = writing[np.array(right, np.bool_)]
            runs[writing] += 1
            writing = writing[[runs[at] < len(gap_of(passages[at])) for at in writing.tolist()]]
            progress.advance()
            if not len(writing):
                break
    return runs


def _next_token(passage: Passage, written: int, mask_id: int) -> Cloze:
    """A passage whose gap is masked but for the exact tokens so far."""
    start, end = len(passage.tokens) // 2 + written, len(passage.tokens) // 2 + len(gap_of(passage))
    tokens = torch.from_numpy(passage.tokens)
    return Cloze(
        tokens.index_fill(0, torch.arange(start, end), mask_id), torch.tensor([start]), tokens[start : start + 1]
    )


def in_passage(passages: Sequence[Passage]) -> Mask:
    """Whether the first `LEAST` tokens of each gap are visible elsewhere in the passage (n,)."""
    copied = np.zeros(len(passages), np.bool_)
    for number, passage in enumerate(passages):
        half, gap = len(passage.tokens) // 2, gap_of(passage)
        for part in (passage.tokens[:half], passage.tokens[half + len(gap) :]):
            copied[number] |= bool(np.isin(run_hashes(part), run_hashes(gap[:LEAST])).any())
    return copied


def in_other_text(passages: Sequence[Passage], texts: Iterable[tuple[int, Integers]]) -> Mask:
    """Whether a text of another patient has the first `LEAST` tokens of each gap (n,)."""
    hashes = [int(run_hashes(gap_of(passage)[:LEAST])[0]) for passage in passages]
    owners: dict[int, set[int]] = {value: set() for value in hashes}
    wanted = np.array(sorted(owners), np.uint64)
    for patient, tokens in texts if owners else ():
        found = run_hashes(tokens)
        for value in np.unique(found[np.isin(found, wanted)]).tolist():
            owners[value].add(patient)
    others = (owners[value] - {passage.patient} for value, passage in zip(hashes, passages, strict=True))
    return np.array([bool(patients) for patients in others], np.bool_)
