"""The one exception that is shown to a user without a traceback."""

import os
import sys
import traceback

USER_ERROR = 2
"""The exit code that goes with it."""


class UserError(Exception):
    """Something the user can mend: the message names the file, line, key or record, what was expected, and the fix.

    The command line prints it as one line and exits with code 2.
    """


class PassingError(UserError):
    """The same of what may pass by itself: a store or a disk that failed. A run that ends with it is worth another try,
    so its ranks exit with 1, as after a crash."""


def tell(error: UserError) -> None:
    """Print the error as a user sees it, on stderr; with CMBERT_DEBUG=1 after its traceback."""
    if os.environ.get("CMBERT_DEBUG") == "1":
        traceback.print_exception(error)
    print("error: " + str(error).replace("\n", "\n       "), file=sys.stderr, flush=True)
