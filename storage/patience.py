"""How long to try an object of a store before it is given up."""

import math
import os

from ..configs.errors import UserError

VARIABLE = "CMBERT_DOWNLOAD_PATIENCE"


def patience_seconds() -> float:
    """Five minutes, or what CMBERT_DOWNLOAD_PATIENCE says.

    Raises:
        UserError: it is not a finite number of seconds.
    """
    value = os.environ.get(VARIABLE, "300")
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(f"{VARIABLE} is {value!r}; expected a number of seconds, such as 300")
    return seconds


def at_most(seconds: float) -> float:
    """The timeout of one wait for a store: `seconds`, or less if the patience is less, and at least one second."""
    return max(1.0, min(seconds, patience_seconds()))
