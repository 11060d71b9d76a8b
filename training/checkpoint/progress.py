"""How far a run has got, as plain counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """What a resume needs to know in addition to the weights and the optimizer's state.

    Attributes:
        step: optimizer steps completed.
        packs: packs consumed, over all ranks.
        tokens: real tokens seen, counted.
        source_tokens: real tokens seen of each source, by name.
    """

    step: int = 0
    packs: int = 0
    tokens: int = 0
    source_tokens: dict[str, int] = field(default_factory=dict)

    def after(self, packs: int, tokens: Mapping[str, int]) -> "Progress":
        """The progress after one more step, of `packs` packs and `tokens` real tokens of each source."""
        return Progress(
            step=self.step + 1,
            packs=self.packs + packs,
            tokens=self.tokens + sum(tokens.values()),
            source_tokens={name: self.source_tokens.get(name, 0) + count for name, count in tokens.items()},
        )
