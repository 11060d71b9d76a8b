"""The name that was probably meant."""

import difflib
from collections.abc import Iterable


def nearest_name(word: str, known: Iterable[str]) -> str | None:
    """The entry of `known` that is spelled most like `word`, in any case; None when none is near."""
    spelled = {name.lower(): name for name in known}
    # 0.5 rather than difflib's 0.6, so that two letters swapped in a name of two are still found
    close = difflib.get_close_matches(word.lower(), spelled, n=1, cutoff=0.5)
    return spelled[close[0]] if close else None
