"""Extraction: given the rest of a training passage, does the model write a gap of many tokens in its middle exactly?

An encoder fills masks, so `GAP` tokens after the first half are masked and filled from left to right, each with its
likeliest token, as long as they are right; what follows the gap is visible, which helps an encoder. A gap is recovered
if its first `LEAST` tokens are exactly those of the document. This is extractable memorization with greedy decoding
(Carlini et al. 2023, arXiv 2202.07646) for an encoder. Phrases that many notes have are recovered too, so a gap counts
as extracted only if no held-out document of another patient has its tokens, and the untrained model does not write
them. The gaps of held-out passages are filled in the same way: what is extracted there was never seen, so that rate is
the method's own error.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from ...configs.progress import Progress
from .passages import Integers, Passage, Sample
from .predictions import Question, Scorer
from .separation import Estimate, difference

LEAST = 8
"""Tokens of a gap that must be exact."""
GAP = 16
"""Tokens that are masked after the first half."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Side(BaseModel):
    """Passages of one side.

    Attributes:
        passages: that are long enough.
        recovered: whose gap is exact in its first tokens.
        extracted: of those, neither in held-out text of other patients nor written by the untrained model.
        longest: exact tokens of the extracted gap with the most, at most `gap`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    passages: int = Field(ge=0)
    recovered: int = Field(ge=0)
    extracted: int = Field(ge=0)
    longest: int = Field(ge=0)


class Extraction(BaseModel):
    """What filling gaps found.

    Attributes:
        least: tokens that must be exact.
        gap: tokens that were masked.
        difference: of the rates of extraction, members less others, by patients.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    least: int
    gap: int
    longest: int
    seed: int
    patients_known: bool
    members: Side
    others: Side
    difference: Estimate


def attack_extraction(
    model: Scorer, untrained: Scorer, sample: Sample, held_out: Iterable[tuple[int, Integers]], mask_id: int,
    longest: int, seed: int,
) -> Extraction | None:  # fmt: skip
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
    guessed = exact_runs(untrained, [passages[at] for at in recovered.tolist()], mask_id, "the untrained model") >= LEAST
    common = in_other_text([gap_of(passages[at])[:LEAST] for at in recovered],
                           [passages[at].patient for at in recovered], held_out)  # fmt: skip
    extracted = np.zeros(len(passages), np.bool_)
    extracted[recovered] = ~guessed & ~common
    patients = np.array([passage.patient for passage in passages])
    return Extraction(
        least=LEAST,
        gap=GAP,
        longest=longest,
        seed=seed,
        patients_known=sample.patients_known,
        members=_side(runs[is_member], extracted[is_member]),
        others=_side(runs[~is_member], extracted[~is_member]),
        difference=difference(extracted.astype(np.float64), np.ones(len(passages)), is_member, patients, seed),
    )


def _side(runs: Integers, extracted: npt.NDArray[np.bool_]) -> Side:
    return Side(
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
            questions = [_next_token(passages[at], int(runs[at]), mask_id) for at in writing.tolist()]
            right = [answer.best[0] == question.targets[0]
                     for answer, question in zip(scorer(questions), questions, strict=True)]  # fmt: skip
            writing = writing[np.array(right, np.bool_)]
            runs[writing] += 1
            writing = writing[[runs[at] < len(gap_of(passages[at])) for at in writing.tolist()]]
            progress.advance()
            if not len(writing):
                break
    return runs


def _next_token(passage: Passage, written: int, mask_id: int) -> Question:
    """A passage whose gap is masked but for the exact tokens so far."""
    start, end = len(passage.tokens) // 2 + written, len(passage.tokens) // 2 + len(gap_of(passage))
    tokens = passage.tokens.copy()
    tokens[start:end] = mask_id
    return Question(tokens, np.array([start]), passage.tokens[start : start + 1])


def in_other_text(
    runs: Sequence[Integers], patients: Sequence[int], texts: Iterable[tuple[int, Integers]]
) -> npt.NDArray[np.bool_]:
    """Which runs of `LEAST` tokens occur in a text of another patient (n,)."""
    hashes = np.array([_hashes(run)[0] for run in runs], np.uint64)
    owners: dict[int, set[int]] = {int(value): set() for value in hashes}
    wanted = np.unique(hashes)
    for patient, tokens in texts:
        if len(tokens) >= LEAST and len(wanted):
            found = _hashes(tokens)
            for value in np.unique(found[np.isin(found, wanted)]).tolist():
                owners[value].add(patient)
    return np.array(
        [bool(owners[int(value)] - {patient}) for value, patient in zip(hashes, patients, strict=True)], np.bool_
    )


def _hashes(tokens: Integers) -> npt.NDArray[np.uint64]:
    """Of each run of `LEAST` tokens, (n,) -> (n - LEAST + 1,); wraps around, as hashes do."""
    windows = np.lib.stride_tricks.sliding_window_view(tokens.astype(np.uint64) + np.uint64(1), LEAST)
    hashes = np.zeros(len(windows), np.uint64)
    for column in windows.T:
        hashes = (hashes ^ column) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    return hashes
