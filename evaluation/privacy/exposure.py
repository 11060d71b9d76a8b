"""Exposure: how far a model ranks the secret of a planted canary before others that were never planted.

The secret of a canary is ranked by its log-probability within its own line, among random secrets of the same form and
the same number of tokens. Its exposure is log2((alternatives + 1) / rank) bits (Carlini et al. 2019, arXiv 1802.08232):
0 for the last, log2(alternatives + 1) for the first, 1.4 on average by chance. Two attacks:

- screened: all tokens of the secret are masked together, so one pass scores any number of alternatives;
- one at a time: each token is scored with the others visible (pseudo-log-likelihood, Salazar et al. 2020, arXiv
  1910.14659). It is the stronger one and costs one pass per token and alternative.

Each canary's results are written when they are there, without its text, so an interrupted attack continues; a canary is
scored in batches of its own, so that the results are the same.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError
from torch import Tensor

from ...configs.errors import UserError
from ...configs.progress import Progress
from ...storage.files import atomic_write, require_writable
from ...streaming_data.canaries.identifiers import Canary, Kind, draw_secrets, line_of
from ...streaming_data.loader.counter_rng import permutation
from ...streaming_data.tokenizer import tokenizer as tokenizers
from ...streaming_data.tokenizer.tokenizer import LoadedTokenizer
from ..models.clozes import masked_singly, masked_together, score, with_alternative
from .report import Estimate, ExposureLevel, ExposureSection
from .scorer import Scorer
from .separation import Floats, estimate

ALTERNATIVES = 100
"""One at a time."""
SCREENED = 2_000
"""Masked together."""
_SAMPLES = 4_000
"""Of the bootstrap, and exchanges of the trend's test."""
_ROUNDS = 10
"""In which twice `SCREENED` secrets each are drawn, until there are enough of each number of tokens."""
_NAME = "Avery Westbrook"
"""In the lines from which alternatives are tokenized."""


class _Secret(NamedTuple):
    """The line of a canary as tokens, and where its secret is."""

    tokens: Tensor
    positions: Tensor


class _Ranks(BaseModel):
    """The ranks of one canary's secret by both attacks, each with the number of alternatives; ties count one half."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    canary: int
    single: PositiveFloat
    alternatives: PositiveInt
    together: PositiveFloat
    screened: PositiveInt

    @property
    def exposure(self) -> float:
        return math.log2((self.alternatives + 1) / self.single)

    @property
    def screened_exposure(self) -> float:
        return math.log2((self.screened + 1) / self.together)


def chance(alternatives: int) -> float:
    """The mean exposure of a secret that is like the alternatives, in bits."""
    return math.log2(alternatives + 1) - float(np.log2(np.arange(1, alternatives + 2)).mean())


def attack_exposure(
    model: Scorer,
    untrained: Scorer | None,
    canaries: Sequence[Canary],
    directory: Path,
    seed: int = 0,
    alternatives: int = ALTERNATIVES,
    screened: int = SCREENED,
) -> ExposureSection:
    """Rank the secrets of the canaries in a model, and in the model before training as a control.

    Args:
        directory: of the results so far.
    """
    pool = draw_alternatives(model.tokenizer, canaries, seed, screened)
    ranks = {
        name: rank_canaries(scorer, canaries, pool, directory, seed, alternatives)
        for name, scorer in (("trained", model), ("untrained", untrained))
        if scorer
    }
    repeats = np.array([canary.repeats for canary in canaries])
    exposures = {name: np.array([one.exposure for one in found]) for name, found in ranks.items()}
    together = np.array([one.screened_exposure for one in ranks["trained"]])
    control = exposures.get("untrained")
    levels = []
    for level in np.unique(repeats).tolist():
        chosen = np.flatnonzero(repeats == level)
        levels.append(
            ExposureLevel(
                repeats=level,
                kept=round(float(np.mean([canaries[at].kept for at in chosen.tolist()])), 4),
                canaries=len(chosen),
                exposure=_mean(exposures["trained"][chosen], seed),
                screened=_mean(together[chosen], seed),
                first=sum(ranks["trained"][at].single == 1 for at in chosen.tolist()),
                untrained=None if control is None else _mean(control[chosen], seed),
            )
        )
    trend, p = trend_test(repeats, exposures["trained"], seed)
    return ExposureSection(
        alternatives=alternatives,
        screened_alternatives=screened,
        chance=round(chance(alternatives), 4),
        kinds=dict(Counter(canary.kind for canary in canaries)),
        levels=levels,
        trend=round(trend, 4),
        trend_p=p,
        untrained_trend=None if control is None else round(trend_test(repeats, control, seed)[0], 4),
    )


def rank_canaries(
    scorer: Scorer,
    canaries: Sequence[Canary],
    pool: "Pool",
    directory: Path,
    seed: int,
    alternatives: int,
) -> list[_Ranks]:
    """The ranks of all canaries, of which those in `directory` are not computed again."""
    lines = "\n".join(canary.line for canary in canaries)
    sizes = sorted((*key, len(rows)) for key, rows in pool.items())
    settings = json.dumps([scorer.identity, lines, sizes, seed, alternatives])
    path = directory / f"exposure-{hashlib.blake2b(settings.encode(), digest_size=8).hexdigest()}.jsonl"
    done = _read(path)
    require_writable(path)
    with (
        path.open("a", encoding="utf-8") as file,
        Progress(f"exposure in {scorer.name}", len(canaries), "canaries") as progress,
    ):
        progress.advance(len(done))
        for number in range(len(canaries)):
            if number not in done:
                done[number] = _rank(scorer, number, canaries[number], pool, seed, alternatives)
                file.write(done[number].model_dump_json() + "\n")
                file.flush()
                progress.advance()
    return [done[number] for number in range(len(canaries))]


def _read(path: Path) -> dict[int, _Ranks]:
    """The results so far, by the number of the canary. A line that was cut by a kill does not count."""
    found: dict[int, _Ranks] = {}
    if path.is_file():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            content = content[: content.rfind(b"\n") + 1]
            atomic_write(path, content)
        for line in content.splitlines():
            with suppress(ValidationError):
                one = _Ranks.model_validate_json(line)
                found[one.canary] = one
    return found


def _rank(scorer: Scorer, number: int, canary: Canary, pool: "Pool", seed: int, alternatives: int) -> _Ranks:
    mask = scorer.tokenizer.special_ids["mask"]
    tokens, positions = _locate(scorer.tokenizer, [(canary.kind, canary.name, canary.secret)])[0]
    own = tokens[positions][None]
    others = pool[canary.kind, len(positions)]
    [together] = score(scorer, [masked_together(tokens, positions, mask, torch.cat([own, others]))])
    chosen = permutation(len(others), "canary alternatives", seed, number)[:alternatives]
    lines = [with_alternative(tokens, positions, row) for row in torch.cat([own, others[torch.from_numpy(chosen)]])]
    clozes = (cloze for line in lines for cloze in masked_singly(line, positions, mask))
    single = np.concatenate(list(score(scorer, clozes))).reshape(len(lines), -1)
    return _Ranks(
        canary=number,
        single=_rank_of_first(single.sum(axis=1)),
        alternatives=len(chosen),
        together=_rank_of_first(together.sum(axis=1)),
        screened=len(others),
    )


def _rank_of_first(values: Floats) -> float:
    return 1 + float((values[1:] > values[0]).sum()) + float((values[1:] == values[0]).sum()) / 2


Pool: TypeAlias = "Mapping[tuple[Kind, int], Tensor]"
"""By kind and number of tokens: alternative secrets as tokens, int64 (alternatives, tokens)."""


def draw_alternatives(tokenizer: LoadedTokenizer, canaries: Sequence[Canary], seed: int, most: int) -> Pool:
    """Random secrets of the canaries' kinds and numbers of tokens, of each at most so many, without the canaries' own.

    Raises:
        UserError: a canary's secret has a number of tokens that no other secret has.
    """
    taken = {canary.secret for canary in canaries}
    located = _locate(tokenizer, [(canary.kind, canary.name, canary.secret) for canary in canaries])
    needed: dict[Kind, set[int]] = {}
    for canary, secret in zip(canaries, located, strict=True):
        needed.setdefault(canary.kind, set()).add(len(secret.positions))
    pool: dict[tuple[Kind, int], Tensor] = {}
    for kind, lengths in needed.items():
        rng = Random(f"alternatives/{seed}/{kind}")
        rows: dict[int, list[Tensor]] = {length: [] for length in sorted(lengths)}
        for _ in range(_ROUNDS):
            drawn = draw_secrets(kind, 2 * most, rng, taken)
            taken.update(drawn)
            for secret in _locate(tokenizer, [(kind, _NAME, one) for one in drawn]):
                if len(found := rows.get(len(secret.positions), [])) < most:
                    found.append(secret.tokens[secret.positions])
            if all(len(found) >= most for found in rows.values()):
                break
        for length, found in rows.items():
            if not found:
                raise UserError(f"canaries: the {kind} of one has {length} tokens, and no random one has as many")
            pool[kind, length] = torch.stack(found)
    return pool


def _locate(tokenizer: LoadedTokenizer, parts: Sequence[tuple[Kind, str, str]]) -> list[_Secret]:
    """The line of each kind, name and secret as tokens, and the positions that have a character of the secret."""
    texts = [line_of(*part) for part in parts]
    cls, sep = tokenizer.special_ids["cls"], tokenizer.special_ids["sep"]
    found = []
    for text, (_, _, secret), encoded in zip(texts, parts, tokenizers.encode(tokenizer, texts), strict=True):
        starts = encoded.character_starts()
        ends = np.append(starts[1:], len(text))
        first = text.rindex(secret)
        positions = 1 + np.flatnonzero((starts < first + len(secret)) & (ends > first))
        tokens = np.concatenate([[cls], encoded.tokens.astype(np.int64), [sep]])
        found.append(_Secret(torch.from_numpy(tokens), torch.from_numpy(positions)))
    return found


def _mean(values: Floats, seed: int) -> Estimate:
    """The mean with its interval over canaries."""
    drawn = values[np.random.default_rng(seed).integers(len(values), size=(_SAMPLES, len(values)))].mean(axis=1)
    return estimate(float(values.mean()), drawn)


def trend_test(repeats: npt.NDArray[np.int64], exposures: Floats, seed: int) -> tuple[float, float]:
    """Spearman's correlation, and how often exchanged repeats give as large a one; the smallest p is 1 / 4,001."""
    x, y = (_standard_ranks(values) for values in (repeats.astype(np.float64), exposures))
    correlation = float((x * y).mean())
    exchanged = np.random.default_rng(seed).permuted(np.tile(x, (_SAMPLES, 1)), axis=1) @ y / len(y)
    return correlation, (1 + int((exchanged >= correlation - 1e-12).sum())) / (1 + _SAMPLES)


def _standard_ranks(values: Floats) -> Floats:
    """Ranks in units of their spread, from their mean; equal values have the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[group]
    spread = ranks.std()
    standard: Floats = (ranks - ranks.mean()) / (spread if spread > 0 else 1)
    return standard
