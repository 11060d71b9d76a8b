"""Token ids of texts that may be longer than the model: windows that overlap, or the beginning."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Long = Literal["windows", "cut"]
_OVERLAP = 8  # a window repeats an eighth of the one before it


class Windows(NamedTuple):
    """The windows of one text, each with its special tokens.

    Attributes:
        ids: token ids of each window.
        is_long: whether the text is longer than the model.
    """

    ids: list[list[int]]
    is_long: bool


def text_windows(tokenizer: Any, texts: Sequence[str], max_length: int, long: Long) -> list[Windows]:
    """The windows of each text; with `cut` its first one only.

    Args:
        tokenizer: a fast tokenizer of transformers.
        max_length: tokens of a window, special tokens included.
    """
    encoded = tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        stride=max_length // _OVERLAP,
        return_overflowing_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    windows: list[list[list[int]]] = [[] for _ in texts]
    for text, ids in zip(encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True):
        windows[text].append(ids)
    return [_kept(ids, long) for ids in windows]


def segment_windows(ids: list[int], max_length: int, long: Long) -> Windows:
    """As `text_windows`, for the tokens of a segment of a pack: its first and last token belong to every window."""
    first, last, room = ids[:1], ids[-1:], max_length - 2
    step = room - max_length // _OVERLAP
    inner = ids[1:-1]
    starts = [0, *range(step, len(inner) - room + step, step)]
    return _kept([first + inner[start : start + room] + last for start in starts], long)


def _kept(windows: list[list[int]], long: Long) -> Windows:
    return Windows(windows[:1] if long == "cut" else windows, len(windows) > 1)
