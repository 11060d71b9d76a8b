"""Membership attacks: from the losses of a text alone, was it in the training data?

- loss: a text whose masked tokens are predicted well is called a member (Yeom et al. 2018, arXiv 1709.01604).
- reference: it is called one if they are predicted better than by a model that was not trained on it, which removes how
  hard the text is (Carlini et al. 2022, arXiv 2112.03570; for masked language models of clinical notes Mireshghallah
  et al. 2022, arXiv 2203.03929, where it is much the stronger of the two).

Trained patients are compared with held-out ones of the same data set that are like them (`passages.py`). Two controls
show what the comparison itself measures: the loss of the untrained model, and the length of a text. Both should be 0.5.

A source's scores are standardized by those of its held-out documents, so that all sources are one list; a patient's
score is the mean over his documents, weighted by their masked tokens.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ...configs.progress import Progress
from ...streaming_data.loader.masking import Vocabulary, mask
from ..models.clozes import Cloze, score
from .passages import Integers, Passage, Sample
from .report import Attack, MembershipSection, Separation
from .scorer import Scorer
from .separation import Floats, Mask, separate

UNTRAINED = "untrained"
RATE = 0.15


def attack_membership(
    model: Scorer,
    references: Mapping[str, Scorer],
    sample: Sample,
    vocabulary: Vocabulary,
    maskings: int,
    longest: int,
    seed: int,
) -> MembershipSection:
    """Attack a model with the references, of which `untrained` is also the control."""
    passages = sample.passages
    masked = [mask_passage(passage, vocabulary, draw, seed) for passage in passages for draw in range(maskings)]
    counts = np.array([len(cloze.positions) for cloze in masked], np.float64).reshape(-1, maskings).sum(axis=1)
    losses = {
        name: log_probabilities(scorer, masked, name).reshape(-1, maskings).sum(axis=1) / np.maximum(counts, 1)
        for name, scorer in {"trained": model, **references}.items()
    }
    lengths = np.array([len(passage.tokens) for passage in passages], np.float64)

    def attack(scores: Floats, **facts: str) -> Attack:
        return _attack(scores, counts, sample, seed, **facts)

    attacks = [attack(losses["trained"], score="loss", model="trained")]
    attacks += [
        attack(losses["trained"] - losses[name], score="reference", model="trained", reference=name)
        for name in references
    ]
    attacks.append(attack(losses[UNTRAINED], score="loss", model=UNTRAINED))
    attacks.append(attack(lengths, score="length", model=UNTRAINED))
    return MembershipSection(
        maskings=maskings,
        rate=RATE,
        longest=longest,
        seed=seed,
        patients_known=sample.patients_known,
        attacks=attacks,
    )


def mask_passage(passage: Passage, vocabulary: Vocabulary, draw: int, seed: int) -> Cloze:
    """A passage with 15 % of its tokens masked; the same ones for all models."""
    masked = mask(passage.tokens, RATE, vocabulary, "membership", seed, passage.number, draw)
    tokens = passage.tokens.copy()
    tokens[masked.positions] = vocabulary.mask_id
    return Cloze(*map(torch.from_numpy, (tokens, masked.positions, masked.targets)))


def log_probabilities(scorer: Scorer, masked: Sequence[Cloze], name: str) -> Floats:
    """The sum of the log-probabilities of the masked tokens of each sequence, (n,)."""
    sums = np.zeros(len(masked))
    with Progress(f"scoring with {name}", len(masked), "passages") as progress:
        for number, values in enumerate(score(scorer, masked)):
            sums[number] = values.sum()
            progress.advance()
    return sums


def _attack(scores: Floats, counts: Floats, sample: Sample, seed: int, **facts: str) -> Attack:
    passages = sample.passages
    sources = np.array([passage.source for passage in passages])
    patients = np.array([passage.patient for passage in passages])
    is_member = np.array([passage.is_member for passage in passages])
    standard = np.zeros(len(scores))
    of_source: dict[str, Separation] = {}
    for source in dict.fromkeys(sources.tolist()):
        chosen = sources == source
        if not is_member[chosen].any() or is_member[chosen].all():
            continue  # nothing to compare: its documents count as average ones
        standard[chosen] = _standardize(scores[chosen], is_member[chosen])
        of_source[source] = separate(scores[chosen], is_member[chosen], patients[chosen], seed)
    pooled = None
    if sample.patients_known:
        pooled = separate(*_pool(standard, counts, is_member, patients), seed)
    documents = separate(standard, is_member, patients, seed)
    return Attack.model_validate({**facts, "patients": pooled, "documents": documents, "sources": of_source})


def _standardize(scores: Floats, is_member: Mask) -> Floats:
    """In units of the spread of the held-out documents, from their mean."""
    others = scores[~is_member]
    standardized: Floats = (scores - others.mean()) / (others.std() or 1.0)
    return standardized


def _pool(scores: Floats, weights: Floats, is_member: Mask, patients: Integers) -> tuple[Floats, Mask, Integers]:
    """The weighted mean score of each patient, whether a member, and the patient."""
    found, firsts, owners = np.unique(patients, return_index=True, return_inverse=True)
    sums, totals = (np.bincount(owners, values) for values in (scores * weights, weights))
    return sums / np.maximum(totals, 1), is_member[firsts], found
