"""Recovery of masked identifiers: are names and dates of training notes filled in better than those of held-out notes?

The identifiers are what the PHI audit finds in a passage. One of them is masked at a time, with every other place where
the passage has the same text, and all its tokens are predicted together: the reader of a de-identified note who has the
model. It is recovered at k if each of its tokens is among the k likeliest there. What can be guessed without having
seen the note is guessed in held-out notes and by the untrained model too (Lehman et al. 2021, arXiv 2104.07762, found
little more in a BERT of clinical notes).
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ...configs.progress import Progress
from ...streaming_data.loader.counter_rng import permutation
from ...streaming_data.phi.patterns import find_in_all
from ...streaming_data.tokenizer.tokenizer import LoadedTokenizer
from ..models.clozes import Cloze, rank
from .passages import Integers, Passage, Sample
from .report import Rates, Recovered, RecoverySection
from .scorer import Scorer
from .separation import Floats, Mask, difference

TOP = (1, 10)
_SPANS = 8
"""Of a passage, at most; of more, a sample."""
_LONGEST = 32
"""Tokens of a span, at most."""


class _Span(NamedTuple):
    passage: Passage
    kind: str
    cloze: Cloze


def attack_recovery(
    model: Scorer,
    untrained: Scorer,
    sample: Sample,
    tokenizer: LoadedTokenizer,
    locales: Mapping[str, Sequence[str]],
    longest: int,
    seed: int,
) -> RecoverySection:
    """Fill in the identifiers of the sample.

    Args:
        locales: of the texts of each source.
    """
    spans: list[_Span] = []
    unreadable = 0
    for passage in sample.passages:
        found = find_spans(passage, tokenizer, locales.get(passage.source, ()), seed)
        unreadable += found is None
        spans += found or []
    is_member = np.array([span.passage.is_member for span in spans], np.bool_)
    patients = np.array([span.passage.patient for span in spans])
    hits = {name: _hits(scorer, spans, name) for name, scorer in (("trained", model), ("untrained", untrained))}
    kinds = np.array([span.kind for span in spans])
    recovered: dict[str, Recovered] = {}
    for kind in ("all", *sorted(set(kinds.tolist()))):
        chosen = np.ones(len(spans), np.bool_) if kind == "all" else kinds == kind
        side = is_member[chosen]
        if side.all() or not side.any():
            continue
        rates = {
            name: {k: _rates(found[k][chosen], side, patients[chosen], seed) for k in TOP}
            for name, found in hits.items()
        }
        members = int(side.sum())
        recovered[kind] = Recovered(
            members=members, others=len(side) - members, top=rates["trained"], untrained=rates["untrained"]
        )
    return RecoverySection(
        longest=longest,
        seed=seed,
        patients_known=sample.patients_known,
        unreadable=unreadable,
        kinds=recovered,
    )


def find_spans(passage: Passage, tokenizer: LoadedTokenizer, locales: Sequence[str], seed: int) -> list[_Span] | None:
    """The identifiers of a passage, masked one at a time; None if its text does not give its tokens again."""
    content = passage.tokens[1:-1]
    text = str(tokenizer.backend.decode(content.tolist(), skip_special_tokens=False))
    encoded = tokenizer.backend.encode(text, add_special_tokens=False)
    if encoded.ids != content.tolist():
        return None
    starts, ends = np.array(encoded.offsets, np.int64).reshape(-1, 2).T
    by_kind: dict[tuple[int, int], str] = {}
    for kind, start, end in find_in_all([text], locales, names=True)[0]:
        by_kind.setdefault((start, end), kind)
    places = list(by_kind)
    order = permutation(len(places), "privacy spans", seed, passage.source, passage.number)[:_SPANS]
    spans = []
    for start, end in (places[at] for at in sorted(order.tolist())):
        positions = 1 + np.flatnonzero((starts < end) & (ends > start))
        if 0 < len(positions) <= _LONGEST:
            same = [match.span() for match in re.finditer(re.escape(text[start:end]), text, re.IGNORECASE)]
            hidden = [1 + np.flatnonzero((starts < last) & (ends > first)) for first, last in same]
            tokens = passage.tokens.copy()
            tokens[np.concatenate([positions, *hidden])] = tokenizer.special_ids["mask"]
            cloze = Cloze(*map(torch.from_numpy, (tokens, positions, passage.tokens[positions])))
            spans.append(_Span(passage, by_kind[start, end], cloze))
    return spans


def _hits(scorer: Scorer, spans: Sequence[_Span], name: str) -> dict[int, Floats]:
    """By k, 1 for each span that is recovered."""
    worst: list[int] = []
    with Progress(f"recovering with {name}", len(spans), "identifiers") as progress:
        for ranks in rank(scorer, (span.cloze for span in spans)):
            worst.append(int(ranks.max()))
            progress.advance()
    return {k: (np.array(worst) < k).astype(np.float64) for k in TOP}


def _rates(hits: Floats, is_member: Mask, patients: Integers, seed: int) -> Rates:
    return Rates(
        members=round(float(hits[is_member].mean()), 4),
        others=round(float(hits[~is_member].mean()), 4),
        difference=difference(hits, np.ones(len(hits)), is_member, patients, seed),
    )
